"""Dropout is drawn from the plan, not from a stream of random numbers: a kill, a measurement, other ranks leave it as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tinyllava_core.job import TrainJob
from tinyllava_core.model import lora
from tinyllava_core.train import loop
from tinyllava_core.train.__main__ import run
from tinyllava_core.train.ledger import read_rows

MakeJob = Callable[..., TrainJob]
DROPPING = {"trainable_from_layer": 0, "lora": {"rank": 2, "alpha": 4, "dropout": 0.4}}


def adapters(job: TrainJob) -> dict[str, torch.Tensor]:
    return load_file(job.out / "checkpoint" / lora.WEIGHTS)


def losses(job: TrainJob) -> list[float]:
    return [row["loss"] for row in read_rows(job.out / "steps.jsonl")]


def test_a_killed_training_draws_the_same_dropout(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, killed = make_job("whole", language=DROPPING), make_job("killed", language=DROPPING)
    run(whole, [False])
    calls, true_run_packs = [0], loop.run_packs

    def die(*args: Any) -> torch.Tensor:
        calls[0] += 1
        torch.rand(calls[0])  # whatever else draws numbers
        if calls[0] == 4:
            raise KeyboardInterrupt
        return true_run_packs(*args)

    monkeypatch.setattr(loop, "run_packs", die)
    with pytest.raises(KeyboardInterrupt):
        run(killed, [False])
    run(killed, [False])
    assert losses(killed) == losses(whole)
    assert all(torch.equal(value, adapters(killed)[name]) for name, value in adapters(whole).items())


def test_dropout_is_there_and_of_the_recipes_seed(make_job: MakeJob) -> None:
    dropping = make_job("dropping", language=DROPPING)
    none = make_job("none", language={"trainable_from_layer": 0, "lora": {"rank": 2, "alpha": 4, "dropout": 0.0}})
    for job in (dropping, none):
        run(job, [False])
    assert losses(dropping)[0] == losses(none)[0]  # an adapter adds nothing at first
    assert losses(dropping)[3] != losses(none)[3]
    assert loop.seed_of(1, 2, 3, 0) != loop.seed_of(1, 23, 0, 0)
    assert 0 <= loop.seed_of(7, 1, 1, 0) < 2**64


def test_measuring_drops_nothing_and_moves_no_dropout(make_job: MakeJob) -> None:
    often, once = (make_job(f"every{n}", language=DROPPING, held_out=5, held_out_every=n) for n in (1, 99))
    for job in (often, once):
        run(job, [False])
    assert losses(often) == losses(once)
    last = [read_rows(job.out / "held_out.jsonl")[-1]["loss"] for job in (often, once)]
    assert last[0] == last[1]
    assert all(torch.equal(value, adapters(once)[name]) for name, value in adapters(often).items())
