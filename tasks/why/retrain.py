"""Stage `retrain`: a training once more without some of its records. Many are one process, tinyllava_core/attribute/retrain.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from tasks.plan import plan
from tasks.record import record, spec_of
from tasks.run import Run
from tasks.running.launch import launch
from tasks.stage import stage
from tasks.train import hub_commits, starts_from_parts, train_spec
from tinyllava_core.artifact import Artifact, fingerprint, unfinished
from tinyllava_core.checkpoints import KINDS
from tinyllava_core.job import RetrainJob, TrainJob, read_result
from tinyllava_core.results import RetrainResult
from tinyllava_core.why.found import evaluations_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One training to make."""

    order: int
    void: frozenset[str] = frozenset()  # weigh nothing, at their places
    only: frozenset[str] | None = None  # planned anew; None: all
    keep_weights: bool = False
    answers: Literal["given", "right"] = "given"  # that are measured afterwards


@stage("retrain")
def retrain(run: Run, trained: Artifact, wanted: Sequence[Wanted]) -> list[Artifact]:
    """Make those trainings that are not there yet, all in one process, and give all of them in the order they were asked for."""
    works = {one: _Work(run, trained, one, _plan(run, trained, one.order)) for one in dict.fromkeys(wanted)}
    with unfinished(run.workspace, "retrain", [work.fingerprint for work in works.values()]) as folders:
        left = [work.job(folders[work.fingerprint]) for work in works.values() if work.fingerprint in folders]
        if left:
            launch(left[0], run.recipe.launch, "retrain", *left[1:])
    made = {one: work.remember() for one, work in works.items()}
    return [made[one] for one in wanted]


def start_of(trained: Artifact, workspace: Path) -> Artifact | None:
    """Find the checkpoint that a training began with; None: the parts' own weights."""
    for kind in KINDS:
        if found := trained.inputs_from(kind, workspace).get("start"):
            return found
    return None


def _plan(run: Run, trained: Artifact, order: int) -> Artifact:
    """Give the plan in one of the orders: the training's own, or laid out anew."""
    stage, shards = trained.stage, trained.input_from("shard", run.workspace)
    if order == run.recipe.training(stage).order:
        return trained.input_from("plan", run.workspace)
    training = run.recipe.training(stage).model_copy(update={"order": order})
    return plan.fn(replace(run, recipe=run.recipe.model_copy(update={stage: training})), stage, shards)


@dataclass(frozen=True, eq=False)  # no slots: what it hangs on is read once
class _Work:
    """One such training: what its artifact hangs on, and its job."""

    run: Run
    trained: Artifact
    wanted: Wanted
    plan: Artifact

    @cached_property
    def spec(self) -> dict[str, Any]:
        stage, wanted = self.trained.stage, self.wanted
        ids = {name: _hash(getattr(wanted, name)) for name in ("void", "only")}
        right = {"answers": wanted.answers} if wanted.answers == "right" else {}  # older ones keep their names
        return {**train_spec(self.run.recipe, stage), **ids, "keep_weights": wanted.keep_weights, **right}  # type: ignore[arg-type]

    @cached_property
    def inputs(self) -> dict[str, Artifact]:
        started = self.start
        answers = {f"answers {n}": one for n, one in enumerate(evaluations_of(self.run.workspace, self.trained))}
        return {
            "shard": self.trained.input_from("shard", self.run.workspace),
            "plan": self.plan,
            **({"start": started} if started else {}),
            **answers,
        }

    @property
    def start(self) -> Artifact | None:
        return start_of(self.trained, self.run.workspace)

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint("retrain", RetrainJob.VERSION, spec_of("retrain", self.spec), self.inputs)

    def job(self, folder: Path) -> RetrainJob:
        """Give what the process is told, to be done in `folder`."""
        run, stage, started = self.run, self.trained.stage, self.start
        as_before = TrainJob(
            stage=stage,  # type: ignore[arg-type]  # it is a training's
            recipe=run.recipe,
            shards=self.inputs["shard"].folder,
            plan=self.plan.folder,
            start=started.folder / "checkpoint" if started else None,
            commits=hub_commits(run.recipe) if starts_from_parts(run.recipe, stage) else {},
            out=folder / "training",
        )
        return RetrainJob(
            train=as_before,
            void=tuple(sorted(self.wanted.void)),
            only=None if self.wanted.only is None else tuple(sorted(self.wanted.only)),
            evaluations=tuple(one.folder for name, one in self.inputs.items() if name.startswith("answers")),
            answers=self.wanted.answers,
            keep_weights=self.wanted.keep_weights,
            out=folder,
        )

    def remember(self) -> Artifact:
        """Take what the process left as an artifact."""

        def make(folder: Path) -> RetrainResult:
            return read_result(folder, "retrain", RetrainResult)

        what = "void" if self.wanted.only is None else "only"
        ids = self.wanted.void if self.wanted.only is None else self.wanted.only
        name = f"{self.trained.stage} {what} {(_hash(ids) or 'none')[:8]} order {self.wanted.order}"
        version = RetrainJob.VERSION
        return record(self.run, "retrain", name, version, self.spec, self.inputs, make, resumable=True)


def _hash(ids: frozenset[str] | None) -> str | None:
    return sha256("\n".join(sorted(ids)).encode()).hexdigest() if ids else None
