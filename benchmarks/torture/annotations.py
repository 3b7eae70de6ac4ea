"""Mutated annotation files: refused in one line, or no record is lost and every good one has as many tags as pictures."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.torture.mutate import NUMBERS, mutated, refused
from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.data.inspect.part import Job, Part, cut, inspect_part, places_file
from tinyllava_core.data.record.json_split import item_places
from tinyllava_core.data.record.record import IMAGE_TAG
from tinyllava_core.errors import BadInput
from tinyllava_core.settings.inspect import Inspect

LIMITS = Inspect()
RECORDS = [
    {
        "id": 1,
        "image": "a.jpg",
        "conversations": [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A."}],
    },
    {
        "id": "b",
        "image": "b.jpg",
        "conversations": [{"from": "human", "value": "<image>\n<im<image>age>?"}, {"from": "gpt", "value": "B."}],
    },
    {"id": 3, "conversations": [{"from": "human", "value": "Hi \U0001f600"}, {"from": "gpt", "value": "é"}] * 2},
    {
        "id": None,
        "image": ["a", "b"],
        "conversations": [{"from": "human", "value": "<image><image>"}, {"from": "gpt", "value": "C"}],
    },
]
JSON_WORDS = (
    *NUMBERS,
    b"<image>",
    b'"',
    b"[",
    b"]",
    b"{",
    b"}",
    b",",
    b"\\ud800",
    b"\xff",
    b"null",
    b'"gpt"',
    b"9" * 5000,
)


def try_records(chance: random.Random) -> str:
    """An annotation file is refused in one line, or each item is good, by the rules, or dropped under a reason."""
    lines = chance.random() < 0.3
    by_structure = chance.random() < 0.6  # else by bytes, which mostly breaks the JSON
    items = [bent(item, chance) if by_structure else item for item in RECORDS]
    text = "\n".join(map(json.dumps, items)) if lines else json.dumps(items, indent=chance.choice([None, 1]))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / ("a.jsonl" if lines else "a.json")
        file.write_bytes(text.encode() if by_structure else mutated(text.encode(), chance, JSON_WORDS))
        job = Job(source="s", annotations=file, format="llava", images=ImagePlaces(), limits=LIMITS, parts=folder)
        try:
            places = item_places(file)
            np.save(places_file(job), places)
            parts: list[Part] = cut("records", len(places), 10)
            for part in parts:
                inspect_part(job, part)
        except BadInput as error:
            return refused(error)
        rows = [row for part in parts for row in _rows(part.file(job))]
    assert len(rows) == len(places), "a record was lost"
    for row in rows:
        if row["reason"] is None:
            texts = [turn["text"] for turn in row["turns"]]
            assert sum(text.count(IMAGE_TAG) for text in texts[::2]) == len(row["paths"]), (
                "tags are not as many as images"
            )
            assert not any(IMAGE_TAG in text for text in texts[1::2]), "a tag in an answer"
    return (
        "read" if all(row["reason"] is None for row in rows) else "unforeseen" if _unforeseen(rows) else "some dropped"
    )


STRANGE = (None, True, -1, 1e308, "", "x" * 9999, "\ud800", [], {}, [[]], "<image>", "gpt", ["a"] * 40_000, 2**63)


def bent(value: object, chance: random.Random) -> object:
    """Change a JSON value in places: another value, another kind of value, a tag more, a tag within a tag."""
    if chance.random() < 0.06:
        return chance.choice(STRANGE)
    if isinstance(value, dict):
        return {key if chance.random() > 0.03 else f"{key}x": bent(inner, chance) for key, inner in value.items()}
    if isinstance(value, list):
        made = [bent(inner, chance) for inner in value]
        return made * 2 if chance.random() < 0.05 else made[:-1] if chance.random() < 0.05 else made
    if isinstance(value, str) and chance.random() < 0.2:
        at = chance.randrange(len(value) + 1)
        return value[:at] + chance.choice(("<image>", "<image>\n", "</s>", "\n", "\0", "<im", "age>")) + value[at:]
    return value


def _rows(file: Path) -> list[dict[str, object]]:
    return pq.read_table(file).to_pylist()


def _unforeseen(rows: list[dict[str, object]]) -> bool:
    return any(row["reason"] == "unforeseen" for row in rows)
