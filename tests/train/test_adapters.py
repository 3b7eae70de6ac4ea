"""A stage that trains adapters, by the program that trains; the next stage goes on with them, or merges them."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch

from tinyllava_core.job import TrainJob
from tinyllava_core.model import checkpoint, lora, quantize
from tinyllava_core.train.__main__ import main

LORA = {"trainable_from_layer": 0, "lora": {"rank": 2, "alpha": 4, "dropout": 0.1}}


def test_adapters_are_trained_stored_and_continued_by_the_next_stage(make_job: Callable[..., TrainJob]) -> None:
    first = make_job("first", language=LORA)
    assert main([str(first.out / "job.yaml")]) == 0
    rows = {row["part"]: row for row in map(json.loads, (first.out / "parts.jsonl").read_text().splitlines())}
    layers = 2 * 7  # blocks x (q, k, v, o, gate, up, down)
    assert rows["language"]["num_tensors_trained"] == rows["language"]["num_tensors_moved"] == 2 * layers
    folder = first.out / "checkpoint"
    assert (folder / lora.CONFIG).is_file()

    second = make_job("second", start=folder, language=LORA)
    assert main([str(second.out / "job.yaml")]) == 0
    before, after = (checkpoint.load(job.out / "checkpoint").model.state_dict() for job in (first, second))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name for name in changed if "language_model" in name} == {name for name in before if lora.MARK in name}

    third = make_job(
        "third", start=folder
    )  # without adapters: they are merged, and the whole language model is trained
    assert main([str(third.out / "job.yaml")]) == 0
    assert not (third.out / "checkpoint" / lora.CONFIG).exists()


def test_adapters_over_packed_weights_are_trained_and_stored(
    make_job: Callable[..., TrainJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the CPU, for the test's sake; a recipe cannot ask for that."""
    pytest.importorskip("bitsandbytes")
    packed = {"trainable_from_layer": 0, "lora": {"rank": 2, "alpha": 4, "dropout": 0.0, "quantize": "nf4"}}
    job = make_job("packed", language=packed)
    assert main([str(job.out / "job.yaml")]) == 2
    monkeypatch.setattr(quantize, "pack", quantize.pack_layers)
    assert main([str(job.out / "job.yaml")]) == 0
    losses = [json.loads(line)["loss"] for line in (job.out / "steps.jsonl").read_text().splitlines()]
    plain = make_job("plain", language={**packed, "lora": {"rank": 2, "alpha": 4, "dropout": 0.0}})
    assert main([str(plain.out / "job.yaml")]) == 0
    exact = [json.loads(line)["loss"] for line in (plain.out / "steps.jsonl").read_text().splitlines()]
    assert losses[0] == pytest.approx(exact[0], rel=0.1)  # rounding to sixteen values changes the loss a little
    assert losses != exact
    assert losses[-1] < losses[0]
    assert (job.out / "checkpoint" / lora.CONFIG).is_file()
