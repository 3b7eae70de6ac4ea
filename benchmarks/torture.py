"""`make torture`: mutated pictures, annotation files and manifests against what reads them, for a time, from a seed.

Each case is a function of (kind, seed): one that went wrong is run again with `--kind KIND --first SEED --cases 1`. What may
happen: it is read, and then it keeps the rules that everything behind relies on, or it is refused under a name, in one line.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.data.inspect.decode import decode, decode_stranger
from tinyllava_core.data.inspect.part import Job, Part, cut, inspect_part, places_file
from tinyllava_core.data.inspect.picture import judge
from tinyllava_core.data.inspect.repair import FORMATS, repaired
from tinyllava_core.data.manifest.manifest import MANIFESTS, Manifest
from tinyllava_core.data.record.json_split import item_places
from tinyllava_core.data.record.record import IMAGE_TAG
from tinyllava_core.errors import BadInput
from tinyllava_core.settings.inspect import Inspect

LIMITS = Inspect(max_pixels=4_000_000)
SLOW_S = 5.0  # a case that takes longer is told
NUMBERS = (
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\0\0\0",
    b"-1",
    b"99999999999999999999",
    b"1e999",
)


@dataclass
class Found:
    """What came of the cases of one kind."""

    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[tuple[int, str]] = field(default_factory=list)  # (seed, what)
    slowest: tuple[float, int] = (0.0, 0)  # (seconds, seed)

    @property
    def cases(self) -> int:
        """Count the cases."""
        return sum(self.outcomes.values())


def mutated(data: bytes, chance: random.Random, words: tuple[bytes, ...] = NUMBERS) -> bytes:
    """Change a file in one to six places: a bit, a byte, a word, a piece cut out, doubled, moved or filled; or cut its tail off."""
    made = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(made) + 1)
        length = min(len(made) - at, int(chance.expovariate(1 / 16)) + 1)
        match chance.randrange(8):
            case 0 if at < len(made):
                made[at] ^= 1 << chance.randrange(8)
            case 1 if at < len(made):
                made[at] = chance.randrange(256)
            case 2:
                made[at : at + length] = chance.choice(words)
            case 3:
                made[at:at] = chance.choice(words)
            case 4:
                del made[at : at + length]
            case 5:
                made[at:at] = made[at : at + length]
            case 6:
                made[at : at + length] = bytes(length)
            case 7 if chance.random() < 0.3:
                del made[at:]
    return bytes(made)


def pictures() -> list[tuple[str, bytes]]:
    """One picture of each format and way to hold colours that is read."""
    chance = np.random.default_rng(7)
    colour = Image.fromarray(chance.integers(0, 256, (24, 32, 3), np.uint8))
    grey16 = Image.fromarray(chance.integers(0, 65536, (24, 32)).astype(np.uint16))
    clear = colour.copy()
    clear.putalpha(colour.convert("L"))
    frames = [colour.rotate(turn) for turn in (90, 180)]
    ways: list[tuple[str, Image.Image, dict[str, object]]] = [
        ("JPEG", colour, {}),
        ("JPEG", colour, {"progressive": True}),
        ("JPEG", colour.convert("CMYK"), {}),
        (
            "JPEG",
            colour.convert("L"),
            {"exif": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"},
        ),
        ("PNG", colour, {}),
        ("PNG", clear, {}),
        ("PNG", grey16, {}),
        ("PNG", colour.convert("P"), {"transparency": 3}),
        ("WEBP", clear, {"lossless": True}),
        ("WEBP", colour, {}),
        ("GIF", colour.convert("P"), {"save_all": True, "append_images": frames}),
        ("BMP", colour, {}),
        ("TIFF", colour, {"compression": "tiff_lzw"}),
        ("TIFF", grey16, {"save_all": True, "append_images": [grey16]}),
        ("PPM", colour, {}),
        ("JPEG2000", colour, {}),
        ("ICO", clear, {}),
        ("TGA", clear, {}),
    ]
    made = []
    for kind, image, how in ways:
        assert kind in FORMATS
        buffer = io.BytesIO()
        image.save(buffer, kind, **how)
        made.append((f"a.{kind.lower()}", buffer.getvalue()))
    return made


def try_pictures(chance: random.Random, seeds: list[tuple[str, bytes]] = pictures()) -> str:  # noqa: B008
    """A picture is good and then gives the bytes that were announced and the same pixels to training and asking, or has a reason."""
    name, data = chance.choice(seeds)
    data = mutated(data, chance)
    found = judge(data, name, LIMITS)
    if found.reason is not None:
        assert "\n" not in found.detail
        try:
            decode_stranger(data, name, LIMITS)
        except BadInput:
            return found.reason
        raise AssertionError(f"asking takes what inspection drops: {found.reason}: {found.detail}")
    held = repaired(data, found.repairs)
    assert found.repaired_sha256 in (None, sha256(held).hexdigest()), "other bytes than were announced"
    shown = decode(held)
    assert shown.shape == (found.height, found.width, 3), f"{shown.shape} is not {found.height} x {found.width}"
    assert np.array_equal(shown, decode_stranger(data, name, LIMITS)), "training and asking see other pixels"
    return "good"


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
    items = [_bent(item, chance) if by_structure else item for item in RECORDS]
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
            return _one_line(str(error))
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


def _one_line(told: str, where: str = "") -> str:
    assert told.startswith(where)
    assert "\n" not in told
    return "refused"


STRANGE = (None, True, -1, 1e308, "", "x" * 9999, "\ud800", [], {}, [[]], "<image>", "gpt", ["a"] * 40_000, 2**63)


def _bent(value: object, chance: random.Random) -> object:
    """Change a JSON value in places: another value, another kind of value, a tag more, a tag within a tag."""
    if chance.random() < 0.06:
        return chance.choice(STRANGE)
    if isinstance(value, dict):
        return {key if chance.random() > 0.03 else f"{key}x": _bent(inner, chance) for key, inner in value.items()}
    if isinstance(value, list):
        made = [_bent(inner, chance) for inner in value]
        return made * 2 if chance.random() < 0.05 else made[:-1] if chance.random() < 0.05 else made
    if isinstance(value, str) and chance.random() < 0.2:
        at = chance.randrange(len(value) + 1)
        return value[:at] + chance.choice(("<image>", "<image>\n", "</s>", "\n", "\0", "<im", "age>")) + value[at:]
    return value


def _rows(file: Path) -> list[dict[str, object]]:
    import pyarrow.parquet as pq

    return pq.read_table(file).to_pylist()


def _unforeseen(rows: list[dict[str, object]]) -> bool:
    return any(row["reason"] == "unforeseen" for row in rows)


YAML_WORDS = (
    *NUMBERS,
    b": ",
    b"\n",
    b"- ",
    b"&a",
    b"*a",
    b"!!",
    b"~",
    b"[",
    b"{",
    b"\t",
    b"name: x\n",
    b"2026-02-31",
    b"\xff",
    b"9" * 5000,
)


def try_manifests(chance: random.Random) -> str:
    """A manifest is read, or refused in one line that names it."""
    data = chance.choice(sorted(MANIFESTS.glob("*.yaml"))).read_bytes()
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "a.yaml"
        file.write_bytes(mutated(data, chance, YAML_WORDS))
        try:
            Manifest.read(file)
        except BadInput as error:
            return _one_line(str(error), str(file))
    return "read"


KINDS: dict[str, Callable[[random.Random], str]] = {
    "pictures": try_pictures,
    "annotations": try_records,
    "manifests": try_manifests,
}


def torture(kind: str, seeds: Iterator[int], seconds: float) -> Found:
    """Try cases until the time is over or the seeds are."""
    found, end = Found(), time.monotonic() + seconds
    for seed in seeds:
        began = time.monotonic()
        if began > end:
            break
        try:
            outcome = KINDS[kind](random.Random(f"{kind} {seed}"))
        except Exception as error:
            outcome = "wrong"
            found.wrong.append((seed, " ".join(f"{type(error).__name__}: {error}".split())[:300]))
        found.outcomes[outcome] += 1
        found.slowest = max(found.slowest, (time.monotonic() - began, seed))
    return found


def main(arguments: list[str]) -> int:
    """Print the table. Exit code 1 if anything went wrong or took too long."""
    parser = argparse.ArgumentParser(prog="benchmarks/torture.py", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3600, help="for all kinds together (default: an hour)")
    parser.add_argument("--kind", choices=KINDS, action="append")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--cases", type=int, default=sys.maxsize, help="of each kind")
    given = parser.parse_args(arguments)
    warnings.filterwarnings("ignore")
    kinds, bad = given.kind or list(KINDS), 0
    print("| kind | cases | what came of them | slowest |\n|---|---|---|---|")
    for kind in kinds:
        seeds = iter(range(given.first, given.first + given.cases))
        found = torture(kind, seeds, given.seconds / len(kinds))
        counts = ", ".join(f"{name} {count:,}" for name, count in found.outcomes.most_common())
        print(
            f"| {kind} | {found.cases:,} | {counts} | {found.slowest[0]:.2f} s (seed {found.slowest[1]}) |", flush=True
        )
        for seed, what in found.wrong[:20]:
            print(f"wrong: --kind {kind} --first {seed} --cases 1: {what}", file=sys.stderr)
        bad += len(found.wrong) + (found.slowest[0] > SLOW_S)
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
