"""Stage `plan`: every optimizer step of one training stage, laid out beforehand. The layout is made in data/plan.py."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.record import record
from tasks.run import Run
from tinyllava_core.artifact import Artifact
from tinyllava_core.data import plan as core


@task(name="plan", task_run_name="plan: {stage}", cache_policy=NO_CACHE, persist_result=False)
def plan(run: Run, stage: str, shards: Artifact) -> Artifact:
    """Decide which records each step of a stage takes, and how they are packed."""
    spec = core.plan_spec(run.recipe, stage)
    return record(
        run, "plan", stage, core.VERSION, spec, {"shard": shards}, lambda folder: core.plan(shards.folder, spec, folder)
    )
