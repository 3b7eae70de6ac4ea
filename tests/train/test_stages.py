"""The share recipe's three stages, one going on from the other: the encoder's upper blocks move in the second, and stay after it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file

from tinyllava_core.job import TrainJob
from tinyllava_core.train.__main__ import run

VISION = "vision_tower.vision_model."


def vision_blocks(job: TrainJob) -> dict[str, torch.Tensor]:
    tensors = load_file(job.out / "checkpoint" / "model.safetensors")
    return {name.removeprefix(VISION): value for name, value in tensors.items() if name.startswith(VISION)}


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_three_stages_train_each_its_own_part_and_hand_it_on(make_job: Callable[..., TrainJob]) -> None:
    """The tiny encoder has blocks 0, 1, 2, and the connector reads behind block 1: from 1 on, block 1 alone can be trained."""

    def checkpoint(job: TrainJob) -> Path:
        run(job, [False])
        return job.out / "checkpoint"

    first = make_job("first", stage="pretrain")
    second = make_job(
        "second", stage="second_pretrain", start=checkpoint(first), vision={"trainable_from_layer": 1}, prompt="plain"
    )
    third = make_job("third", stage="sft", start=checkpoint(second))
    checkpoint(third)
    in_second = moved(vision_blocks(first), vision_blocks(second))
    assert in_second
    assert all(name.startswith("encoder.layers.1.") for name in in_second)
    assert len(in_second) == sum(name.startswith("encoder.layers.1.") for name in vision_blocks(first))
    assert moved(vision_blocks(second), vision_blocks(third)) == set()
