"""Stage `shard`: one mix as WebDataset tars. They are written in data/shard.py."""

from __future__ import annotations

from collections.abc import Mapping

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.record import record
from tasks.run import Run
from tasks.source import Source
from tinyllava_core.artifact import Artifact
from tinyllava_core.data import shard as core


@task(name="shard", task_run_name="shard: {stage}", cache_policy=NO_CACHE, persist_result=False)
def shard(run: Run, stage: str, mixed: Artifact, sources: Mapping[str, Source]) -> Artifact:
    """Write the records of a mix, with their images, into shards in the mix's order."""
    places = [sources[entry.source].place for entry in run.recipe.training(stage).mix]
    count = run.recipe.records_per_shard
    return record(
        run,
        "shard",
        stage,
        core.VERSION,
        {"records_per_shard": count},
        {"mix": mixed},
        lambda folder: core.shard(mixed.folder, places, count, folder),
    )
