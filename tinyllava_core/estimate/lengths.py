"""How long a stage's records will be, before the data is here: drawn from lengths.yaml. A plan knows better; this says so.

The draw is seeded, so the same recipe gives the same estimate.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tinyllava_core.data.manifest.manifest import load
from tinyllava_core.settings.mix import MixEntry

TABLE = Path(__file__).with_name("lengths.yaml")
_AROUND_PAIR = 7  # tokens that a prompt format puts around a question and its answer, roughly
_AROUND_RECORD = 35  # and once: a system sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of record: a row of lengths.yaml."""

    kind: str
    component: str | None = None  # of its source, as the manifest names it
    records: int
    images: int
    pairs: float
    question: float  # words
    answer: float
    spread: float
    known: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Records that stand for those of a mix, and how many those are."""

    num_records: int
    num_tokens: np.ndarray  # uncut, image tokens included
    num_supervised: np.ndarray
    num_images: np.ndarray
    unknown: tuple[str, ...]  # sources that lengths.yaml does not have, or whose manifest has no count


def draw(mix: tuple[MixEntry, ...], tokens_per_image: int, captions: bool, count: int, seed: int = 0) -> Drawn:
    """Draw `count` records of a mix. `captions`: the prompt format leaves questions out."""
    table = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    kinds, weights, unknown = [], [], []
    for entry in mix:
        rows, is_known = _kinds(entry.source, table)
        kinds += rows
        weights += _taken(rows, entry)
        unknown += [] if is_known else [entry.source]
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
    )


_DRAWN = ("images", "pairs", "question", "answer", "spread")


def _taken(rows: list[Kind], entry: MixEntry) -> list[float]:
    """Say how many records of each kind a mix takes an epoch: shares and caps of components, then the source's cap."""
    found = []
    for row in rows:
        portion = entry.components.get(row.component or "")
        share = entry.share if portion is None or portion.share is None else portion.share
        whole = share * sum(other.records for other in rows if other.component == row.component)
        cap = whole if portion is None or portion.cap is None else min(whole, portion.cap)
        found.append(row.records * share * (cap / whole if whole else 0))
    total = sum(found)
    return [one * min(1.0, (entry.cap or total) / total) if total else one for one in found]


def _kinds(source: str, table: dict[str, Any]) -> tuple[list[Kind], bool]:
    """Give the kinds of a source's records; and whether its lengths are in the table and its count is known."""
    if source in table["sources"]:
        return [Kind(**row) for row in table["sources"][source]], True
    manifest = load(source)
    count = (manifest.annotations.count if manifest.annotations else None) or manifest.about_records
    return [Kind(**table["other"] | {"records": count or 1})], False
