"""Stage `overlap`: what a finished mix shares with itself, and with benchmarks. It is found in data/mix/overlap.py."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tasks.record import record
from tasks.run import Run
from tasks.stage import stage
from tinyllava_core.artifact import Artifact
from tinyllava_core.data.manifest.manifest import load
from tinyllava_core.data.mix import overlap as core
from tinyllava_core.data.mix.spec import overlap_spec
from tinyllava_core.results import OverlapResult
from tinyllava_core.settings.mix import Contamination, Duplicates


@stage("overlap", task_run_name="overlap: {name}")
def overlap(
    run: Run,
    name: str,
    mixed: Artifact,
    asked: Duplicates | Contamination,
    benchmarks: Mapping[str, Artifact] | None = None,
) -> Artifact:
    """Find a mix's duplicates; or the pictures of `benchmarks` in it (inspected, by the recipe's word for them)."""
    inspected = mixed.inputs_from("inspect", run.workspace)
    sources = [f"inspect {entry['source']}" for entry in mixed.manifest()["spec"]["entries"]]
    ours = {source: inspected[source] for source in sources}
    theirs = {f"inspect {load(word).name}": artifact for word, artifact in (benchmarks or {}).items()}

    def make(folder: Path) -> OverlapResult:
        folders = [artifact.folder for artifact in ours.values()]
        if isinstance(asked, Duplicates):
            return core.overlap_itself(mixed.folder, folders, asked.reporting, folder)
        pictures = [artifact.folder for artifact in theirs.values()]
        return core.overlap_benchmarks(mixed.folder, folders, asked, pictures, folder)

    return record(run, "overlap", name, core.VERSION, overlap_spec(asked), {"mix": mixed, **ours, **theirs}, make)
