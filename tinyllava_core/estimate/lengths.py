"""How long a stage's records will be, before the data is here: drawn from lengths.yaml. A plan knows better; this says so.

The draw is seeded, so the same recipe gives the same estimate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tinyllava_core.data.manifest.manifest import Manifest, load
from tinyllava_core.estimate.looked import Kind, Looked, look
from tinyllava_core.settings.mix import MixEntry

TABLE = Path(__file__).with_name("lengths.yaml")
_AROUND_PAIR = 7  # tokens that a prompt format puts around a question and its answer, roughly
_AROUND_RECORD = 35  # and once: a system sentence
LookAt = Callable[[Manifest], Looked | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Records that stand for those of a mix, and how many those are."""

    num_records: int
    num_tokens: np.ndarray  # uncut, image tokens included
    num_supervised: np.ndarray
    num_images: np.ndarray
    unknown: tuple[str, ...]  # sources that lengths.yaml does not have, or whose manifest has no count
    looked_at: tuple[str, ...]  # sources whose own records said it, and how many of them
    tokens_error: float  # standard error of the mix's tokens by that look
    unusable: tuple[float, float] | None  # records of the mix whose texts cannot be used, by that look, and its error


def draw(
    mix: tuple[MixEntry, ...],
    tokens_per_image: int,
    captions: bool,
    count: int,
    seed: int = 0,
    look_at: LookAt | None = None,
) -> Drawn:
    """Draw `count` records of a mix. `captions`: the prompt format leaves questions out. `look_at`: looks at a source's own records."""
    table = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    kinds, weights, unknown, looked_at = list[Kind](), list[float](), list[str](), list[str]()
    squares, unusable = 0.0, list[tuple[float, float]]()
    for entry in mix:
        rows = [Kind(**row) for row in table["sources"].get(entry.source, ())]
        if not rows:
            manifest = load(entry.source)
            if looked := (look_at or look)(manifest):
                rows, taken = looked.kinds, sum(_taken(looked.kinds, entry))
                looked_at.append(f"{manifest.name} ({looked.of})")
                squares += (taken * looked.mean_of(_tokens(looked, tokens_per_image, captions, table)).error) ** 2
                lost = looked.mean_of(looked.unusable)
                unusable.append((taken * lost.mean, taken * lost.error))
            else:
                unknown.append(manifest.name)
                said = (manifest.annotations.count if manifest.annotations else None) or manifest.about_records
                rows = [Kind(**table["other"] | {"records": said or 1})]
        kinds += rows
        weights += _taken(rows, entry)
    shares = np.asarray(weights) / max(1.0, sum(weights))
    rng = np.random.default_rng(seed)
    which = rng.choice(len(kinds), count, p=shares / shares.sum())
    columns = {name: np.asarray([getattr(kind, name) for kind in kinds], float)[which] for name in _DRAWN}
    words = columns["answer"] + (0 if captions else columns["question"])
    length = rng.lognormal(-(columns["spread"] ** 2) / 2, columns["spread"])  # of mean 1
    pairs = np.maximum(1, np.round(columns["pairs"] * length))
    per_word = (
        float(table["tokens_per_word"]) * columns["pairs"] * length / pairs
    )  # text is as long as drawn, pairs are whole
    around = pairs * (1 if captions else _AROUND_PAIR) + (0 if captions else _AROUND_RECORD)
    images = columns["images"].astype(np.int64)
    return Drawn(
        num_records=round(sum(weights)),
        num_tokens=np.round(images * tokens_per_image + around + pairs * words * per_word).astype(np.int64),
        num_supervised=np.maximum(1, np.round(pairs * (columns["answer"] * per_word + 1))).astype(np.int64),
        num_images=images,
        unknown=tuple(unknown),
        looked_at=tuple(looked_at),
        tokens_error=math.sqrt(squares),
        unusable=(sum(lost for lost, _ in unusable), math.hypot(*(error for _, error in unusable)))
        if unusable
        else None,
    )


def _tokens(looked: Looked, tokens_per_image: int, captions: bool, table: dict[str, Any]) -> np.ndarray:
    """Say how many tokens each record has that was looked at, by its words."""
    words = looked.answers + (0 if captions else looked.questions)
    around = looked.pairs * (1 if captions else _AROUND_PAIR) + (0 if captions else _AROUND_RECORD)
    return looked.images * tokens_per_image + around + words * float(table["tokens_per_word"])


_DRAWN = ("images", "pairs", "question", "answer", "spread")


def _taken(rows: list[Kind], entry: MixEntry) -> list[float]:
    """Say how many records of each kind a mix takes an epoch: what is chosen, shares and caps of components, then the source's cap."""
    found, whole_source = [], sum(row.records for row in rows)
    brought = min(1.0, entry.choose.records / whole_source) if entry.choose and whole_source else 1.0
    for row in rows:
        portion = entry.components.get(row.component or "")
        share = entry.share if portion is None or portion.share is None else portion.share
        whole = share * brought * sum(other.records for other in rows if other.component == row.component)
        cap = whole if portion is None or portion.cap is None else min(whole, portion.cap)
        found.append(row.records * share * brought * (cap / whole if whole else 0))
    total = sum(found)
    return [one * min(1.0, (entry.cap or total) / total) if total else one for one in found]
