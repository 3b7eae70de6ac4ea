"""Stage `evaluate`: benchmarks on one checkpoint. The answering is one process for all of them, tinyllava_core/evaluate/answer."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from prefect.runtime import task_run

from tasks.record import record, spec_of
from tasks.run import Run
from tasks.running.launch import launch
from tasks.running.progress import LOG
from tasks.source import image_places, set_inputs
from tasks.stage import stage
from tinyllava_core.artifact import Artifact, fingerprint, unfinished
from tinyllava_core.data.manifest.manifest import Manifest, load
from tinyllava_core.evaluate.score.benchmarks import benchmark as row
from tinyllava_core.evaluate.score.judge import judge_model
from tinyllava_core.job import EvaluateJob, is_done, read_result, read_seconds
from tinyllava_core.results import DownloadResult, EvaluateResult
from tinyllava_core.settings.condition import titled
from tinyllava_core.settings.launch import Launch

Spent = dict[tuple[str, str], float]  # (benchmark, condition) -> the seconds that its answers and their scoring took


def _task_run_name() -> str:
    given = task_run.parameters
    return f"evaluate: {titled(given['benchmark'], given['condition'])}"


@stage("answer")
def answer(run: Run, trained: Artifact, downloads: Mapping[str, Artifact], sets: Mapping[str, Artifact]) -> Spent:
    """Answer all that the recipe asks for and that is not answered yet, in one process that loads the checkpoint once.

    Each benchmark under each condition stays an artifact of its own: what is answered waits in its folder for `evaluate`.
    Gives the seconds that each took.
    """
    if run.looking:
        return {}
    settings = run.recipe.evaluate
    todo = [
        _Evaluation(run, name, downloads[name], trained, word, sets)
        for name in settings.benchmarks
        for word in settings.conditions
    ]
    with unfinished(run.workspace, "evaluate", [one.fingerprint for one in todo]) as folders:
        held = {one: one.job(folders[one.fingerprint]) for one in todo if one.fingerprint in folders}
        left = [job for job in held.values() if not is_done(job)]
        if left:
            launch(left[0], on_one_machine(run.recipe.launch), "answer", *left[1:])
        return {(one.benchmark, one.condition): read_seconds(job.out) for one, job in held.items()}


@stage("evaluate", task_run_name=_task_run_name)
def evaluate(
    run: Run,
    benchmark: str,
    downloaded: Artifact,
    trained: Artifact,
    condition: str,
    sets: Mapping[str, Artifact],
    spent_s: float = 0.0,
) -> Artifact:
    """Answer and score a benchmark's questions under a condition: images seen, blanked, or corrupted.

    `sets`: at least the image sets that the benchmark draws on. `spent_s`: what `answer` took for it. The batch size and the
    number of processes are no part of the fingerprint: answers do not depend on them, but for rounding.
    """
    this = _Evaluation(run, benchmark, downloaded, trained, condition, sets)

    def make(folder: Path) -> EvaluateResult:
        job = this.job(folder)
        if not is_done(job):
            launch(job, on_one_machine(run.recipe.launch), f"evaluate {this.name}")
        return read_result(folder, job.kind, EvaluateResult)

    version = EvaluateJob.VERSION
    scored = record(run, "evaluate", this.name, version, this.spec, this.inputs, make, resumable=True, spent_s=spent_s)
    if not scored.made and not run.recipe.stages():  # a run that only scores was meant to
        LOG.info("%s", f"{'':<9} - answered before; to have it done anew: rm -r {shlex.quote(str(scored.folder))}")
    return scored


@dataclass(frozen=True, eq=False)  # no slots: its manifest is read once
class _Evaluation:
    """One benchmark on one checkpoint under one condition: what its artifact hangs on, and its job."""

    run: Run
    benchmark: str
    downloaded: Artifact
    trained: Artifact
    condition: str
    sets: Mapping[str, Artifact]

    @cached_property
    def manifest(self) -> Manifest:
        return load(self.benchmark)

    @property
    def scorer(self) -> str:
        assert self.manifest.scorer, f"{self.benchmark} is no benchmark: check_manifests should have said so"
        return self.manifest.scorer

    @property
    def name(self) -> str:
        return titled(self.manifest.name, self.condition)

    @property
    def spec(self) -> dict[str, Any]:
        variant = self.manifest.variant
        return {
            "scorer": self.scorer,
            "variant": variant,
            "condition": self.condition,
            "precision": self.run.recipe.evaluate.precision,
            "judge": judge_model() if row(self.scorer).variant(variant).judged else None,
        }

    @property
    def inputs(self) -> dict[str, Artifact]:
        return {"download": self.downloaded, "checkpoint": self.trained, **set_inputs(self.manifest, self.sets)}

    @property
    def fingerprint(self) -> str:
        return fingerprint("evaluate", EvaluateJob.VERSION, spec_of("evaluate", self.spec), self.inputs)

    def job(self, folder: Path) -> EvaluateJob:
        """Give what the process is told, to be done in `folder`."""
        manifest, annotations = self.manifest, self.downloaded.result(DownloadResult).annotations
        assert annotations is not None, f"{self.benchmark}: its download left no annotations"
        return EvaluateJob(
            recipe=self.run.recipe,
            checkpoint=self.trained.folder / "checkpoint",
            benchmark=manifest.name,
            scorer=self.scorer,
            variant=manifest.variant,
            annotations=self.downloaded.folder / annotations,  # an absolute path stays itself
            images=image_places(manifest, self.downloaded, self.sets),
            expected=manifest.annotations.count if manifest.annotations else None,
            condition=self.condition,
            out=folder,
        )


def on_one_machine(how: Launch) -> Launch:
    """Give the recipe's way to start a job, for one that needs no optimizer: its processes, but of one machine only."""
    launcher: Literal["plain", "torchrun"] = "plain" if how.processes == 1 else "torchrun"
    return Launch(launcher=launcher, processes=how.processes, device=how.device, timeout_s=how.timeout_s)


def one_process(how: Launch) -> Launch:
    """Give the recipe's way to start a job, for one that is a single process: same device, same time limit."""
    return Launch(device=how.device, timeout_s=how.timeout_s)
