"""Stage `overlap`: what a finished mix shares with itself, and with benchmarks. It is found in data/mix/overlap.py."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.record import record
from tasks.run import Run
from tinyllava_core.artifact import Artifact
from tinyllava_core.data.manifest.manifest import load
from tinyllava_core.data.mix import overlap as core
from tinyllava_core.data.mix.spec import overlap_spec
from tinyllava_core.results import OverlapResult


@task(name="overlap", task_run_name="overlap: {name}", cache_policy=NO_CACHE, persist_result=False)
def overlap(run: Run, stage: str, name: str, mixed: Artifact, benchmarks: Mapping[str, Artifact] | None) -> Artifact:
    """Find a mix's duplicates; or, with `benchmarks` (inspected, by the recipe's word for them), their pictures in it."""
    asked = run.recipe.training(stage)
    inspected = mixed.inputs_from("inspect", run.workspace)
    sources = {f"inspect {entry['source']}" for entry in mixed.manifest()["spec"]["entries"]}
    ours = {name: artifact for name, artifact in inspected.items() if name in sources}
    folders = [artifact.folder for artifact in ours.values()]
    theirs = {f"inspect {load(word).name}": artifact for word, artifact in (benchmarks or {}).items()}

    def make(folder: Path) -> OverlapResult:
        if benchmarks is None:
            return core.overlap_itself(mixed.folder, folders, asked.duplicates.reporting, folder)
        pictures = [artifact.folder for artifact in theirs.values()]
        return core.overlap_benchmarks(mixed.folder, folders, asked.contamination, pictures, folder)

    spec = overlap_spec(asked.duplicates if benchmarks is None else asked.contamination)
    return record(run, "overlap", name, core.VERSION, spec, {"mix": mixed, **ours, **theirs}, make)
