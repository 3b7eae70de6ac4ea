"""Stage `evaluate`: one benchmark on one checkpoint. The answering is a job of its own, tinyllava_core/evaluate."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import task_run

from tasks.record import record
from tasks.run import Run
from tasks.running.launch import launch
from tasks.source import image_places, set_inputs
from tinyllava_core.artifact import Artifact
from tinyllava_core.data.manifest.manifest import load
from tinyllava_core.job import EvaluateJob, read_result
from tinyllava_core.results import DownloadResult, EvaluateResult
from tinyllava_core.settings.condition import titled
from tinyllava_core.settings.launch import Launch


def _task_run_name() -> str:
    given = task_run.parameters
    return f"evaluate: {titled(given['benchmark'], given['condition'])}"


@task(name="evaluate", task_run_name=_task_run_name, cache_policy=NO_CACHE, persist_result=False)
def evaluate(
    run: Run, benchmark: str, downloaded: Artifact, trained: Artifact, condition: str, sets: Mapping[str, Artifact]
) -> Artifact:
    """Answer and score a benchmark's questions under a condition: images seen, blanked, or corrupted.

    `sets`: at least the image sets that the benchmark draws on. The batch size and the number of processes are no part of
    the fingerprint: answers do not depend on them, but for rounding.
    """
    manifest, result = load(benchmark), downloaded.result(DownloadResult)
    scorer, annotations = manifest.scorer, result.annotations
    assert scorer is not None, f"{benchmark} is no benchmark: check_manifests should have said so"
    assert annotations is not None, f"{benchmark}: its download left no annotations"
    name = titled(manifest.name, condition)
    spec = {
        "scorer": scorer,
        "variant": manifest.variant,
        "condition": condition,
        "precision": run.recipe.evaluate.precision,
    }

    def make(folder: Path) -> EvaluateResult:
        job = EvaluateJob(
            recipe=run.recipe,
            checkpoint=trained.folder / "checkpoint",
            benchmark=manifest.name,
            scorer=scorer,
            variant=manifest.variant,
            annotations=downloaded.folder / annotations,  # an absolute path stays itself
            images=image_places(manifest, downloaded, sets),
            expected=manifest.annotations.count if manifest.annotations else None,
            condition=condition,
            out=folder,
        )
        launch(job, on_one_machine(run.recipe.launch), f"evaluate {name}")
        return read_result(folder, job.kind, EvaluateResult)

    inputs = {"download": downloaded, "checkpoint": trained, **set_inputs(manifest, sets)}
    return record(run, "evaluate", name, EvaluateJob.VERSION, spec, inputs, make, resumable=True)


def on_one_machine(how: Launch) -> Launch:
    """Give the recipe's way to start a job, for one that needs no optimizer: its processes, but of one machine only."""
    launcher: Literal["plain", "torchrun"] = "plain" if how.processes == 1 else "torchrun"
    return Launch(launcher=launcher, processes=how.processes, device=how.device, timeout_s=how.timeout_s)


def one_process(how: Launch) -> Launch:
    """Give the recipe's way to start a job, for one that is a single process: same device, same time limit."""
    return Launch(device=how.device, timeout_s=how.timeout_s)
