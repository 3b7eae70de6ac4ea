"""The order is seeded and the same everywhere; steps are exact; what is grouped is alike."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import pytest

from tinyllava_core.data.plan.order import WINDOW, cut_steps, epoch_order

MODALITIES = np.asarray([random.Random(place).random() < 0.9 for place in range(1000)])
LENGTHS = np.random.default_rng(0).lognormal(6.2, 0.6, 20_000).astype(np.int64)


@pytest.mark.parametrize(("count", "batch", "steps"), [(558_128, 256, 2181), (665_298, 128, 5198)])
def test_the_papers_step_counts_stand(count: int, batch: int, steps: int) -> None:
    found = list(cut_steps(np.arange(count), np.ones(count, bool), np.ones(count), batch, None))
    assert len(found) == steps
    assert {len(members) for members in found[:-1]} == {batch}


def one_by_one(order: list[int], has_image: np.ndarray, batch: int) -> list[list[int]]:
    """The rule of `modality` once more: two queues, a step when one is full, then the rests together."""
    queues: dict[bool, list[int]] = {True: [], False: []}
    steps = []
    for record in order:
        queue = queues[bool(has_image[record])]
        queue.append(record)
        if len(queue) == batch:
            steps.append(list(queue))
            queue.clear()
    rest = queues[True] + queues[False]
    return steps + [rest[first : first + batch] for first in range(0, len(rest), batch)]


@pytest.mark.parametrize("epoch", [0, 1])
def test_grouping_by_modality_fills_two_queues(epoch: int) -> None:
    order = epoch_order(1000, epoch, 3)
    found = [members.tolist() for members in cut_steps(order, MODALITIES, np.ones(1000), 32, "modality")]
    assert found == one_by_one(order.tolist(), MODALITIES, 32)
    assert len(found) == -(-1000 // 32)
    assert sum(len({bool(MODALITIES[record]) for record in members}) == 2 for members in found) <= 1


def test_one_modality_alone_is_grouped_too() -> None:
    """The Factory's sampler dies here."""
    found = list(cut_steps(np.arange(10), np.ones(10, bool), np.ones(10), 4, "modality"))
    assert [members.tolist() for members in found] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_grouping_by_length_keeps_every_record_and_its_window() -> None:
    batch, seed = 32, 4
    found = list(cut_steps(np.arange(20_000), np.ones(20_000, bool), LENGTHS, batch, "length", seed))
    assert [len(members) for members in found] == [32] * 625
    for first in range(0, len(found), WINDOW):
        window = np.concatenate(found[first : first + WINDOW])
        assert sorted(window.tolist()) == list(range(first * batch, first * batch + len(window)))


def test_grouping_by_length_makes_the_lengths_of_a_step_alike() -> None:
    def spread(group_by: str | None) -> float:
        steps = cut_steps(np.arange(20_000), np.ones(20_000, bool), LENGTHS, 32, group_by)  # type: ignore[arg-type]
        return float(np.mean([LENGTHS[members].max() - LENGTHS[members].min() for members in steps]))

    assert spread("length") < spread(None) / 5


def test_grouped_by_length_the_steps_come_in_a_seeded_order() -> None:
    def means(seed: int) -> list[float]:
        steps = cut_steps(np.arange(3200), np.ones(3200, bool), LENGTHS, 32, "length", seed)
        return [float(LENGTHS[members].mean()) for members in steps]

    first = means(0)
    assert first == means(0) != means(1)
    assert sorted(first) == sorted(means(1))  # the same steps
    assert first[:50] != sorted(first[:50], reverse=True)


def test_modality_and_length_are_grouped_together() -> None:
    found = list(cut_steps(np.arange(1000), MODALITIES, LENGTHS, 32, "modality_and_length"))
    assert sorted(np.concatenate(found).tolist()) == list(range(1000))
    by_modality = list(cut_steps(np.arange(1000), MODALITIES, LENGTHS, 32, "modality"))
    assert [MODALITIES[members].all() for members in found] == [MODALITIES[members].all() for members in by_modality]
    of_images = np.concatenate([members for members in found if MODALITIES[members].all()])
    assert of_images.tolist() != sorted(of_images.tolist())


def test_later_epochs_have_another_seeded_order() -> None:
    first, second = epoch_order(50, 0, 5), epoch_order(50, 1, 5)
    assert first.tolist() == list(range(50))
    by_name = sorted(range(50), key=lambda place: hashlib.md5(f"5:1:{place}".encode()).hexdigest())
    assert second.tolist() == by_name != first.tolist()
    assert epoch_order(50, 1, 6).tolist() != second.tolist()
