"""Stage `shard`: one mix as WebDataset tars. They are written in data/shard/shard.py."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tasks.record import record
from tasks.run import Run
from tasks.running.progress import showing
from tasks.running.retry import store_may_answer
from tasks.source import Source
from tasks.stage import stage
from tinyllava_core.artifact import Artifact
from tinyllava_core.data.shard import shard as core
from tinyllava_core.data.shard.once import link_equal_tars
from tinyllava_core.results import ShardResult


@stage(
    "shard", task_run_name="shard: {stage}", retries=2, retry_delay_seconds=[5, 60], retry_condition_fn=store_may_answer
)
def shard(run: Run, stage: str, mixed: Artifact, sources: Mapping[str, Source]) -> Artifact:
    """Write the records of a mix, with their images, into shards in the mix's order."""
    recipe = run.recipe
    places = [sources[entry.source].place for entry in recipe.training(stage).mix]

    def make(folder: Path) -> ShardResult:
        with showing(f"shard {stage}") as show:
            result = core.shard(
                mixed.folder,
                places,
                recipe.shard,
                folder,
                processes=recipe.launch.data_processes,
                run_parts=run.run_parts,
                on_progress=show,
            )
        link_equal_tars(folder)
        return result

    return record(run, "shard", stage, core.VERSION, recipe.shard, {"mix": mixed}, make, resumable=True)
