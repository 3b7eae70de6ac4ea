"""How long a stage's records will be, before the data is here: drawn from lengths.yaml. A plan knows better; this says so.

The draw is seeded, so the same recipe gives the same estimate.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from tinyllava_core.data.manifest.manifest import Manifest, load
from tinyllava_core.data.record.record import IMAGE_TAG, Malformed, Record
from tinyllava_core.settings.mix import MixEntry

TABLE = Path(__file__).with_name("lengths.yaml")
_AROUND_PAIR = 7  # tokens that a prompt format puts around a question and its answer, roughly
_AROUND_RECORD = 35  # and once: a system sentence
_LOOKED_AT = 2_000  # records of a file on this disk that stand for all of it


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
    looked_at: tuple[str, ...]  # sources whose own file said it


def draw(mix: tuple[MixEntry, ...], tokens_per_image: int, captions: bool, count: int, seed: int = 0) -> Drawn:
    """Draw `count` records of a mix. `captions`: the prompt format leaves questions out."""
    table = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    kinds, weights, unknown, looked_at = list[Kind](), list[float](), list[str](), list[str]()
    for entry in mix:
        rows = [Kind(**row) for row in table["sources"].get(entry.source, ())]
        if not rows:
            manifest = load(entry.source)
            rows = measured(manifest)
            (looked_at if rows else unknown).append(manifest.name)
            said = (manifest.annotations.count if manifest.annotations else None) or manifest.about_records
            rows = rows or [Kind(**table["other"] | {"records": said or 1})]
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
    )


def measured(manifest: Manifest) -> list[Kind]:
    """Look at a source's own file, where it is one of records on this disk: a row for each number of images in a record.

    Every record is counted, up to 2,000 of them, evenly spread over the file, are read. Without such a file: no row.
    Raises BadInput where the file is broken, or in no format that is known.
    """
    from tinyllava_core.data.record.formats import parser, sniff_file  # which bring msgspec: benchmarks/gpu.py has none
    from tinyllava_core.data.record.json_split import Unread, item_places, read_items

    told = manifest.annotations
    if told is None or told.path is None or not (file := manifest.local(told.path)).is_file():
        return []
    if file.suffix not in (".json", ".jsonl"):
        return []
    places = item_places(file)
    parse, read = parser(told.format or sniff_file(file)), list[Record]()
    for index in np.unique(np.linspace(0, len(places) - 1, min(len(places), _LOOKED_AT)).astype(int)):
        ((_, item),) = read_items(file, places[index : index + 1])
        if not isinstance(item, Unread):
            with suppress(Malformed):
                read.append(parse(manifest.name, int(index), item))
    return [
        _row(images, some, round(len(places) * len(some) / len(read)))
        for images in sorted({len(record.images) for record in read})
        if (some := [record for record in read if len(record.images) == images])
    ]


def _row(images: int, looked_at: list[Record], num_records: int) -> Kind:
    """Say what records of one kind are like, as lengths.yaml says it of published ones."""
    words = np.asarray([[_words(record, "user"), _words(record, "assistant")] for record in looked_at])
    pairs = np.asarray([sum(turn.role == "assistant" for turn in record.turns) for record in looked_at])
    question, answer = words.sum(axis=0) / max(1, pairs.sum())
    return Kind(
        kind=f"{images} images",
        records=num_records,
        images=images,
        pairs=float(pairs.mean()),
        question=float(question),
        answer=float(answer),
        spread=float(np.log(np.maximum(1, words.sum(axis=1))).std()),
        known=True,
    )


def _words(record: Record, role: str) -> int:
    texts = (turn.text.replace(IMAGE_TAG, " ") for turn in record.turns if turn.role == role)
    return sum(len(text.split()) for text in texts)


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
