"""Stage `choose`: which rows of a big data set are brought here. They are chosen in data/mix/choose.py."""

from __future__ import annotations

from pathlib import Path

from tasks.download import what_is_fetched
from tasks.record import record
from tasks.run import Run
from tasks.running.progress import showing
from tasks.running.retry import may_help
from tasks.source import choices
from tasks.stage import stage
from tinyllava_core.artifact import Artifact
from tinyllava_core.data.manifest.local_copies import with_copies
from tinyllava_core.data.manifest.manifest import load
from tinyllava_core.data.mix import choose as core
from tinyllava_core.results import ChooseResult


@stage("choose", task_run_name="choose: {source}", retries=2, retry_delay_seconds=[5, 60], retry_condition_fn=may_help)
def choose(run: Run, source: str) -> Artifact:
    """Choose the rows of a source that are brought here, from their texts. Raises BadInput if none is left."""
    manifest, asked = with_copies(load(source), run.recipe.data), choices(run.recipe)[source]
    limits, seed = run.recipe.inspect, run.recipe.seed
    spec = what_is_fetched(manifest) | {
        "components": manifest.components,
        "choose": asked,
        "seed": seed,
        "limits": limits,
    }

    def make(folder: Path) -> ChooseResult:
        with showing(f"choose {manifest.name}") as show:
            return core.choose(
                manifest,
                asked,
                seed,
                limits,
                folder,
                run.workspace / "cache",
                processes=run.recipe.launch.data_processes,
                run_parts=run.run_parts,
                on_progress=show,
            )

    return record(run, "choose", manifest.name, core.VERSION, spec, {}, make)
