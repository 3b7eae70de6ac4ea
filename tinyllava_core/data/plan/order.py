"""The order in which a plan takes its records, and where one optimizer step ends. It packs nothing and reads no file.

The order is a function of the seed alone, the same on every machine; no sampler changes it later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np

GroupBy = Literal["modality", "length", "modality_and_length"]
# Steps among which records change places by length. Source: transformers' get_length_grouped_indices (mega_batch_mult).
WINDOW = 50


def epoch_order(count: int, epoch: int, seed: int, order: int = 0) -> np.ndarray:
    """Order `count` records for one epoch -> [count] indices. The first epoch is the mix's own order; later ones are seeded.

    `order`: 0, or the number of another order of all epochs.
    """
    if epoch == 0 and order == 0:
        return np.arange(count)
    salt = f"{seed}:{epoch}" if order == 0 else f"{seed}:order {order}:{epoch}"
    return _shuffled(f"{salt}:{place}" for place in range(count))


def cut_steps(
    order: np.ndarray,
    has_image: np.ndarray,
    lengths: np.ndarray,
    global_batch: int,
    group_by: GroupBy | None,
    seed: int = 0,
) -> Iterator[np.ndarray]:
    """Cut an order into optimizer steps of `global_batch` records -> [global_batch] indices each; the last takes what is left.

    modality: a step is with or without images as far as the numbers allow; the rests of both share the last steps.
    length: among the records of 50 steps, those of like length share a step; the steps then come in a seeded order.
    `has_image` and `lengths` are by index, and so is what comes back.
    """
    both = np.asarray(has_image, bool)[order] if group_by in ("modality", "modality_and_length") else None
    streams = [np.arange(len(order))] if both is None else [np.flatnonzero(both), np.flatnonzero(~both)]
    full: list[tuple[int, np.ndarray]] = []  # (where in the order a step has all its records, its records)
    rests: list[np.ndarray] = []
    for number, places in enumerate(streams):
        num_steps = len(places) // global_batch
        steps = order[places[: num_steps * global_batch]].reshape(num_steps, global_batch)
        if group_by in ("length", "modality_and_length"):
            steps = _alike(steps, lengths, f"{seed}:{number}")
        full += zip(places[global_batch - 1 :: global_batch].tolist(), steps, strict=True)
        rests.append(order[places[num_steps * global_batch :]])
    yield from (members for _, members in sorted(full, key=lambda step: step[0]))
    rest = np.concatenate(rests)
    yield from (rest[first : first + global_batch] for first in range(0, len(rest), global_batch))


def _alike(steps: np.ndarray, lengths: np.ndarray, salt: str) -> np.ndarray:
    """Let records change places within each window of steps, so that a step's lengths are alike -> [steps, global_batch]."""
    windows: list[np.ndarray] = []
    for first in range(0, len(steps), WINDOW):
        window = steps[first : first + WINDOW]
        longest_first = np.argsort(-np.asarray(lengths, np.int64)[window.ravel()], kind="stable")
        alike = window.ravel()[longest_first].reshape(window.shape)
        windows.append(alike[_shuffled(f"{salt}:{first + number}" for number in range(len(window)))])
    return np.concatenate(windows) if windows else steps


def _shuffled(names: Iterable[str]) -> np.ndarray:
    """Order things by the MD5 of their names -> [count] indices: shuffled, and the same on every machine."""
    digests = b"".join(hashlib.md5(name.encode(), usedforsecurity=False).digest() for name in names)
    halves = np.frombuffer(digests, ">u8").reshape(-1, 2)
    return np.lexsort((halves[:, 1], halves[:, 0]))
