"""Find where each item of a big JSON array (or JSON lines) begins and ends, so that any range of them can be read alone.

It reads bytes, not meaning: quotes, brackets and commas, many megabytes a second. `json_items` is the strict reader; it
is asked whenever something looks wrong here, for it knows the line and the words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson

from tinyllava_core.data.record.json_items import json_items
from tinyllava_core.errors import BadInput

_CHUNK = 1 << 24  # bytes scanned at a time
_BIG = 2.0**63  # from here on, orjson reads a whole number as a float
_BOM = b"\xef\xbb\xbf"
_QUOTE, _OPEN, _CLOSE, _COMMA, _BACKSLASH = range(1, 6)
_MARKS = {'"': _QUOTE, "[": _OPEN, "{": _OPEN, "]": _CLOSE, "}": _CLOSE, ",": _COMMA, "\\": _BACKSLASH}
_CLASS_OF = bytes(_MARKS.get(chr(letter), 0) for letter in range(256))  # for bytes.translate, the fastest look-up


@dataclass(frozen=True, slots=True)
class Unread:
    """An item that may well be JSON, and that no reader takes: why."""

    detail: str


def item_places(path: Path) -> np.ndarray:
    """Give each item's first byte and the byte behind its last -> [N, 2] int64, spaces around it included.

    Raises BadInput, as `json_items` does, where the file is missing or is no array; a fault inside an item is found when
    that item is read.
    """
    try:
        with path.open("rb") as file:
            start = len(_BOM) if file.read(len(_BOM)) == _BOM else 0
            file.seek(start)
            places = _lines(file, start) if path.suffix == ".jsonl" else _array(file, start)
    except FileNotFoundError:
        raise BadInput(f"{path}: no such annotation file") from None
    return fault(path) if places is None else places


def read_items(path: Path, places: np.ndarray) -> Iterator[tuple[bytes, Any]]:
    """Read neighbouring items -> (bytes as written, value) each. Raises BadInput with file and line on a broken one.

    One that holds a number of thousands of digits comes as `Unread`.
    """
    if not len(places):
        return
    begin = int(places[0, 0])
    with path.open("rb") as file:
        file.seek(begin)
        data = file.read(int(places[-1, 1]) - begin)
    for first, last in (places - begin).tolist():
        written = data[first:last]
        yield written, _value(path, written)


def read_item(file: BinaryIO, place: np.ndarray) -> str:
    """Read one item's text as it was written."""
    first, last = (int(at) for at in place)
    file.seek(first)
    return file.read(last - first).strip().decode()


def fault(path: Path) -> np.ndarray:
    """Let the strict reader say what is wrong with a file, and where. Raises BadInput."""
    for _ in json_items(path):
        pass
    raise BadInput(f"{path}: broken JSON; mend the file or download it again")


def _value(path: Path, written: bytes) -> Any:
    try:
        value = orjson.loads(written)
        if not (isinstance(value, dict) and any(type(one) is float and abs(one) >= _BIG for one in value.values())):
            return value  # else perhaps an id of more digits than a float has
    except orjson.JSONDecodeError:
        pass  # half of a surrogate pair, NaN: JSON to Python's own reader
    try:
        return json.loads(written.decode())
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        return fault(path)
    except ValueError as error:  # of a number: Python reads no more than 4,300 digits
        return Unread(" ".join(str(error).split(";")[0].split()))


def _lines(file: BinaryIO, start: int) -> np.ndarray:
    places = []
    for line in file:
        if line.strip():
            places.append((start, start + len(line)))
        start += len(line)
    return np.array(places, dtype=np.int64).reshape(-1, 2)


def _array(file: BinaryIO, start: int) -> np.ndarray | None:
    """Find the items of an array by its outermost commas; None if it does not look like one array."""
    scan, ends = _Scan(), list[np.ndarray]()
    first = last = None
    while chunk := file.read(_CHUNK):
        opened, commas, closed = scan.next(chunk)
        if first is None and chunk.strip():
            at = len(chunk) - len(chunk.lstrip())
            if chunk[at : at + 1] != b"[":
                return None
            first = start + at + 1
        if last is not None and chunk.strip():
            return None  # something behind the array
        ends.append(start + commas)
        if len(closed):
            last = start + int(closed[0])
            if len(closed) > 1 or chunk[int(closed[0]) + 1 :].strip() or (len(opened) and opened[-1] > closed[0]):
                return None
        start += len(chunk)
    if first is None or last is None or scan.inside:
        return None
    commas = np.concatenate(ends)
    if not len(commas) and _is_blank(file, first, last):
        return np.empty((0, 2), np.int64)
    return np.stack([np.concatenate([[first], commas + 1]), np.concatenate([commas, [last]])], axis=1)


def _is_blank(file: BinaryIO, first: int, last: int) -> bool:
    if last - first > 1 << 16:
        return False
    file.seek(first)
    return not file.read(last - first).strip()


class _Scan:
    """The state of a walk over JSON's bytes: inside a string?, how deep in brackets?, is the next byte escaped?"""

    def __init__(self) -> None:
        self.inside = False
        self._depth = 0
        self._escaped = False

    def next(self, chunk: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Walk on -> places of: brackets that open the outermost level, its commas, brackets that close it."""
        classes = np.frombuffer(chunk.translate(_CLASS_OF), np.uint8)
        at = np.flatnonzero(classes != 0)
        kinds = classes[at]
        escaped = self._escapes(at[kinds == _BACKSLASH], len(chunk))
        kept = (kinds != _BACKSLASH) & ~((kinds == _QUOTE) & escaped[at])
        at, kinds = at[kept], kinds[kept]
        quotes = kinds == _QUOTE
        inside = (np.cumsum(quotes) + self.inside) & 1
        if len(inside):
            self.inside = bool(inside[-1])
        marks = ~quotes & (inside == 0)
        at, kinds = at[marks], kinds[marks]
        depth = self._depth + np.cumsum((kinds == _OPEN).astype(np.int64) - (kinds == _CLOSE))
        if len(depth):
            self._depth = int(depth[-1])
        return (
            at[(kinds == _OPEN) & (depth == 1)],
            at[(kinds == _COMMA) & (depth == 1)],
            at[(kinds == _CLOSE) & (depth == 0)],
        )

    def _escapes(self, slashes: np.ndarray, length: int) -> np.ndarray:
        """Mark the bytes that a backslash escapes: of a run of backslashes, every second one escapes the next byte."""
        escaped = np.zeros(length + 1, bool)
        escaped[0] = self._escaped
        if len(slashes):
            begins = np.ones(len(slashes), bool)
            begins[1:] = np.diff(slashes) != 1
            run = np.maximum.accumulate(np.where(begins, np.arange(len(slashes)), 0))
            shift = (slashes[run] == 0) & self._escaped  # the run's first backslash is itself escaped
            escaped[slashes[(np.arange(len(slashes)) - run + shift) % 2 == 0] + 1] = True
        self._escaped = bool(escaped[length])
        return escaped
