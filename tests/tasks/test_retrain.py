"""Retrainings as artifacts: each made once, in one process, by the training's own recipe and plan."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tasks.run import Run
from tasks.why import retrain as stage
from tasks.why.retrain import Wanted
from tinyllava_core.artifact import Artifact
from tinyllava_core.attribute.retrain import retrain as retrain_now
from tinyllava_core.errors import BadInput
from tinyllava_core.job import RetrainJob
from tinyllava_core.results import RetrainResult, TrainResult


def test_each_retraining_is_made_once_and_without_nothing_it_is_the_training(
    trained: tuple[Run, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, training = trained
    launched: list[int] = []

    def launch(job: RetrainJob, how: Any, title: str, *more: RetrainJob) -> None:
        launched.append(1 + len(more))
        for one in (job, *more):
            retrain_now(one)

    def none(*_: Any) -> Sequence[Artifact]:
        return []

    monkeypatch.setattr(stage, "launch", launch)
    monkeypatch.setattr(stage, "evaluations_of", none)
    one = frozenset({"tiny-00000003"})
    wanted = [Wanted(order=0), Wanted(order=0, void=one), Wanted(order=1), Wanted(order=0), Wanted(order=0, only=one)]
    found = stage.retrain.fn(run, training, wanted)
    assert launched == [4]  # one process; what is asked for twice is made once
    results = [artifact.result(RetrainResult) for artifact in found]
    assert results[0].checkpoint_sha256 == training.result(TrainResult).checkpoint_sha256
    assert len({result.checkpoint_sha256 for result in results}) == 4
    assert [(row.num_records, row.num_void, row.num_steps) for row in results] == [
        (22, 0, 6),
        (22, 1, 6),
        (22, 0, 6),
        (22, 0, 6),
        (1, 0, 1),
    ]
    assert [path.name for path in found[1].folder.iterdir() if path.is_dir()] == []  # no weights, no plan
    again = stage.retrain.fn(run, training, wanted[:2])
    assert (launched, [artifact.made for artifact in again]) == ([4], [False, False])
    edges = json.loads((found[2].folder / "result.json").read_text())["inputs"]
    assert edges["plan"] != training.manifest()["inputs"]["plan"]  # another order is another plan


def test_a_plan_that_is_gone_is_one_line(trained: tuple[Run, Artifact]) -> None:
    run, training = trained
    plan = training.input_from("plan", run.workspace).folder
    away = plan.with_name("away")
    plan.rename(away)
    try:
        with pytest.raises(BadInput, match=r"the plan that it was made of is gone from .*; run its recipe again"):
            stage.retrain.fn(run, training, [Wanted(order=0)])
    finally:
        away.rename(plan)
