"""A stage that ends with the mean of its last weights: those of a run without it, averaged by hand; and after a kill the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tinyllava_core.errors import BadInput
from tinyllava_core.job import TrainJob
from tinyllava_core.recipe import Recipe
from tinyllava_core.train import loop
from tinyllava_core.train.__main__ import run
from tinyllava_core.train.ledger import Ledger, read_rows

MakeJob = Callable[..., TrainJob]
AVERAGE = {"count": 3, "every": 2}  # of six steps: after those with the numbers 1, 3 and 5


def weights(job: TrainJob) -> dict[str, np.ndarray]:
    return load_file(job.out / "checkpoint" / "model.safetensors")


@pytest.fixture
def averaged(make_job: MakeJob) -> TrainJob:
    job = make_job("averaged", average=AVERAGE)
    run(job, [False])
    return job


def test_the_mean_is_that_of_the_weights_as_they_were(
    make_job: MakeJob, averaged: TrainJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, seen = make_job("plain", save_every=2), []
    true_save = Ledger.save

    def seeing(ledger: Ledger, engine: Any, next_step: int) -> None:
        model = engine.model
        seen.append((next_step, {name: p.detach().double().numpy().copy() for name, p in model.named_parameters()}))
        true_save(ledger, engine, next_step)

    monkeypatch.setattr(Ledger, "save", seeing)
    run(plain, [False])
    assert [step for step, _ in seen] == [2, 4, 6]
    found, last = weights(averaged), weights(plain)
    assert set(found) == set(last)
    names = {"multi_modal_projector.linear_1.weight", "language_model.model.layers.1.mlp.up_proj.weight"}
    for hub in names:
        (ours,) = {n for n in seen[0][1] if n.endswith(hub.removeprefix("language_model.model."))}
        by_hand = (seen[0][1][ours] + seen[1][1][ours] + seen[2][1][ours]) / 3
        np.testing.assert_array_equal(found[hub], by_hand.astype(np.float32))
        assert not np.array_equal(found[hub], last[hub])
    frozen = [name for name in found if name.startswith("vision_tower.")]
    assert frozen
    assert all(np.array_equal(found[name], last[name]) for name in frozen)
    assert not (averaged.out / "average").exists()


def test_a_killed_run_ends_with_the_same_mean(
    make_job: MakeJob, averaged: TrainJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the step after the second of the three weights: the state is of two steps before."""
    job, true_run_packs = make_job("killed", average=AVERAGE, save_every=3), loop.run_packs

    def until_death(work: Any, step: int, *rest: Any) -> Any:
        if step == 4:
            raise KeyboardInterrupt
        return true_run_packs(work, step, *rest)

    monkeypatch.setattr(loop, "run_packs", until_death)
    with pytest.raises(KeyboardInterrupt):
        run(job, [False])
    assert sorted(file.name for file in (job.out / "average").iterdir()) == [
        "step-00000001.safetensors",
        "step-00000003.safetensors",
    ]
    monkeypatch.setattr(loop, "run_packs", true_run_packs)
    run(job, [False])
    assert [life["from_step"] for life in read_rows(job.out / "lives.jsonl")] == [0, 3]
    for name, value in weights(averaged).items():
        np.testing.assert_array_equal(weights(job)[name], value, err_msg=name)


def test_a_stage_with_too_few_steps_is_one_clear_line(make_job: MakeJob) -> None:
    with pytest.raises(
        BadInput, match=r"sft\.average: 3 weights, one every 3 steps, need 7 steps, and the stage has 6"
    ):
        run(make_job("few", average={"count": 3, "every": 3}), [False])


def test_a_stage_without_a_mean_keeps_the_name_that_it_had_before_there_was_one(tmp_path: Path) -> None:
    from tasks.train import train_spec
    from tinyllava_core.recipe import load

    def spec(**fields: Any) -> dict[str, Any]:
        recipe: Recipe = load("toy", fields)
        told: dict[str, Any] = train_spec(recipe, "sft")["training"]
        return told

    assert "average" not in spec()
    assert spec(**{"sft.average": AVERAGE})["average"] == AVERAGE
