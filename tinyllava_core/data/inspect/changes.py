"""What one inspection of a source has that another has not: records that came, went, or say something else. It writes nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

_ROWS = 20_000
_COLUMNS = ["record_id", "original_id", "component", "turns", "images"]
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """How many records, and a few of their ids."""

    same: int
    added: int
    removed: int
    changed: int  # the same id and pictures, other words
    some_added: tuple[str, ...] = ()
    some_removed: tuple[str, ...] = ()
    some_changed: tuple[str, ...] = ()
    components: dict[str, tuple[int, int, int, int]] = field(default_factory=dict)  # same, added, removed, changed


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """The records of one inspection as numbers: what each is called and shows, and what it says."""

    ids: pa.Array
    what: np.ndarray  # uint64, of its own id and its pictures' bytes
    says: np.ndarray  # uint64, of that and its turns
    components: np.ndarray  # of each, its name


def compare(before: Path, after: Path) -> Changes:
    """Compare the good records of two inspections. Records that are twice in one count as often as they are there."""
    one, other = _read(before), _read(after)
    same_one, same_other = _common(one.says, other.says)
    left, came = np.flatnonzero(~same_one), np.flatnonzero(~same_other)
    changed_one, changed_other = _common(one.what[left], other.what[came])
    removed, added = left[~changed_one], came[~changed_other]
    return Changes(
        same=int(same_other.sum()),
        added=len(added),
        removed=len(removed),
        changed=int(changed_other.sum()),
        some_added=_some(other, added),
        some_removed=_some(one, removed),
        some_changed=_some(other, came[changed_other]),
        components=_by_component(
            other.components[same_other], other.components[added], one.components[removed],
            other.components[came[changed_other]],
        ),
    )  # fmt: skip


def _by_component(*kinds: np.ndarray) -> dict[str, tuple[int, int, int, int]]:
    """Count each kind's records by their components, which are the newer side's where a record is on both."""
    counts = [Counter(names.tolist()) for names in kinds]
    same, added, removed, changed = counts
    names = sorted(set().union(*counts))
    return {name: (same[name], added[name], removed[name], changed[name]) for name in names}


def _some(side: _Side, rows: np.ndarray) -> tuple[str, ...]:
    return tuple(side.ids.take(pa.array(rows[:_SHOWN])).to_pylist())


def _common(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pair equal numbers of two arrays, each with one of the other side alone -> which are paired, of either."""
    paired = np.zeros(len(one), bool), np.zeros(len(other), bool)
    orders = [np.argsort(values, kind="stable") for values in (one, other)]
    keys = [_numbered(values[order]) for values, order in zip((one, other), orders, strict=True)]
    for side, order, mine, theirs in zip(paired, orders, keys, reversed(keys), strict=True):
        side[order] = np.isin(mine, theirs)
    return paired


def _numbered(ordered: np.ndarray) -> np.ndarray:
    """Make equal neighbours different, the first of each side the same: the number, moved on by its place among its equals."""
    places = np.arange(len(ordered))
    begins = np.ones(len(ordered), bool)
    begins[1:] = ordered[1:] != ordered[:-1]
    rank = places - np.maximum.accumulate(np.where(begins, places, 0))
    return ordered + rank.astype(np.uint64) * np.uint64(
        0x9E3779B97F4A7C15
    )  # wraps round; an odd step meets no other soon


def _read(inspected: Path) -> _Side:
    ids, what, says = [pa.array([], pa.string())], list[int](), list[int]()
    components = list[str]()
    with pq.ParquetFile(inspected / "records.parquet") as file:
        for batch in file.iter_batches(_ROWS, columns=_COLUMNS):
            ids.append(batch.column("record_id"))
            components += batch.column("component").to_pylist()
            for row in batch.select(["original_id", "turns", "images"]).to_pylist():
                said = [f"{turn['role']}\x1e{turn['text']}" for turn in row["turns"]]
                named = [row["original_id"], *(image["sha256"] for image in row["images"])]
                shown = "\x1f".join(named if any(named) else said[:1])  # without either, its first words name it
                what.append(xxhash.xxh3_64_intdigest(shown.encode()))
                says.append(xxhash.xxh3_64_intdigest("\x1d".join([shown, *said]).encode()))
    return _Side(
        ids=pa.concat_arrays(ids),
        what=np.array(what, np.uint64),
        says=np.array(says, np.uint64),
        components=np.array(components, dtype=object),
    )
