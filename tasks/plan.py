"""Stage `plan`: every optimizer step of one training stage, laid out beforehand. The layout is made in data/plan/plan.py."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.record import record
from tasks.run import Run
from tasks.running.progress import showing
from tasks.running.retry import store_may_answer
from tinyllava_core.artifact import Artifact
from tinyllava_core.data.plan import plan as core
from tinyllava_core.results import PlanResult


@task(
    name="plan",
    task_run_name="plan: {stage}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=[5, 60],
    retry_condition_fn=store_may_answer,
)
def plan(run: Run, stage: str, shards: Artifact) -> Artifact:
    """Decide which records each step of a stage takes, and how they are packed."""
    spec, processes = core.plan_spec(run.recipe, stage), run.recipe.launch.data_processes

    def make(folder: Path) -> PlanResult:
        with showing(f"plan {stage}") as show:
            return core.plan(
                shards.folder, spec, folder, processes=processes, run_parts=run.run_parts, on_progress=show
            )

    return record(run, "plan", stage, core.VERSION, spec, {"shard": shards}, make, resumable=True)
