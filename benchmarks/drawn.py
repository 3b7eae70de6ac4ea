"""Records of real lengths, with made-up words and noise for pictures, and what the training loop asks of a plan. No data is read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from tinyllava_core.data.plan.pack import pack as pack_places
from tinyllava_core.data.plan.prompt import Encoded
from tinyllava_core.data.tensors.example import Pack, join
from tinyllava_core.estimate import lengths
from tinyllava_core.parts import Vision
from tinyllava_core.settings.mix import MixEntry
from tinyllava_core.tokenizer import IGNORE

FULL = 729  # image tokens that estimate/lengths.yaml's text stands beside: SigLIP at 384
_FIRST_WORD = 4  # ids below it mean something: padding, an end, an image


def draw(
    mix: tuple[MixEntry, ...], per_image: int, vocabulary: int, longest: int, *, captions: bool, count: int, seed: int,
    image_id: int, scale: float = 1.0,
) -> list[Encoded]:  # fmt: skip
    """Draw records as long as a mix's (estimate/lengths.yaml), everything times `scale`, at most `longest` tokens."""
    real = lengths.draw(mix, round(per_image / scale), captions, count, seed)
    rng, found = np.random.default_rng(seed), []
    for tokens, supervised, images in zip(real.num_tokens, real.num_supervised, real.num_images, strict=True):
        before = per_image * int(images)
        text = int(np.clip(round(tokens * scale) - before, 4, longest - before))
        learned = int(np.clip(round(supervised * scale), 1, text - 1))
        ids = rng.integers(_FIRST_WORD, vocabulary, text).tolist()
        labels = [IGNORE] * (before + text - learned) + ids[text - learned :]
        ends = tuple(per_image * (number + 1) for number in range(int(images)))
        found.append(Encoded(ids=[image_id] * before + ids, labels=labels, image_ends=ends))
    return found


class DrawnPacks(Dataset[Pack]):
    """Steps of drawn records, as data/tensors/stream.py's PlannedPacks: the training loop reads them in worker processes."""

    def __init__(self, steps: list[list[Encoded]], capacity: int, vision: Vision, image_id: int) -> None:
        self.reading = SimpleNamespace(vision=vision)
        self._image_id, size = image_id, vision.image_size
        self.noise: list[Tensor] = [torch.randint(0, 256, (1, 3, size, size), dtype=torch.uint8) for _ in range(8)]
        self.packs = [
            [[records[place] for place in places] for places in pack_places([len(r.ids) for r in records], capacity)]
            for records in steps
        ]
        self.num_packs = [len(packs) for packs in self.packs]
        self.num_records = [len(records) for records in steps]
        self.num_tokens = [sum(len(record.ids) for record in records) for records in steps]
        self.num_supervised = [sum(record.num_supervised for record in records) for records in steps]

    def __len__(self) -> int:
        return sum(self.num_packs)

    def pack_tokens(self, step: int) -> np.ndarray:
        return np.array([sum(len(record.ids) for record in one) for one in self.packs[step]])

    def __getitem__(self, key: tuple[int, int]) -> Pack:  # type: ignore[override]
        records = self.packs[key[0]][key[1]]
        count = sum(len(record.image_ends) for record in records)
        images = [self.noise[number % len(self.noise)] for number in range(count)]
        return join(records, images, self.reading.vision.image_size, image_id=self._image_id)


class DrawnSteps:
    """What train/planned.py says of a plan's steps, of drawn ones: they have one source."""

    sources = ("drawn",)

    def __init__(self, packs: DrawnPacks) -> None:
        self._packs = packs.packs

    def sources_of(self, step: int, pack: int) -> np.ndarray:
        return np.zeros(len(self._packs[step][pack]), np.int64)

    def squares(self, step: int) -> int:
        return sum(len(record.ids) ** 2 for pack in self._packs[step] for record in pack)

    def num_tiles(self, step: int) -> int:
        return sum(len(record.image_ends) for pack in self._packs[step] for record in pack)

    def first_learned(self, *, with_pictures: bool) -> int | None:
        return next((step for step in range(len(self._packs)) if self.num_tiles(step) or not with_pictures), None)

    def describe(self, step: int) -> str:
        return f"drawn records of step {step}"


class Nothing:
    """Stands where the loop keeps books that a measurement does not need: whatever is called does nothing."""

    def __getattr__(self, _: str) -> Any:
        return lambda *_, **__: None
