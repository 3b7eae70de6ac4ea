"""Find where each item of a big JSON array (or JSON lines) begins and ends, so that any range of them can be read alone.

The file is mapped, not loaded, and no value is made. `json_items` is the strict reader; it is asked whenever something looks
wrong here, for it knows the line and the words.
"""

from __future__ import annotations

import json
import mmap
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import msgspec
import numpy as np
import orjson

from tinyllava_core.data.record.json_items import array_items, json_items
from tinyllava_core.errors import BadInput

_BIG = 2.0**63  # from here on, orjson reads a whole number as a float
_BOM = b"\xef\xbb\xbf"
_BETWEEN = re.compile(rb"[\s,]*")  # one item and the next


@dataclass(frozen=True, slots=True)
class Unread:
    """An item that may well be JSON, and that no reader takes: why."""

    detail: str


def item_places(path: Path) -> np.ndarray:
    """Give each item's first byte and the byte behind its last -> [N, 2] int64.

    Raises BadInput, as `json_items` does, where the file is missing, or no array, or its JSON is broken. What is not UTF-8, and
    a broken one of JSON lines, is found when that item is read.
    """
    try:
        with path.open("rb") as file:
            start = len(_BOM) if file.read(len(_BOM)) == _BOM else 0
            file.seek(start)
            return _lines(file, start) if path.suffix == ".jsonl" else _array(path, file, start)
    except FileNotFoundError:
        raise BadInput(f"{path}: no such annotation file") from None


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


def fault(path: Path) -> NoReturn:
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
        fault(path)
    except ValueError as error:  # of a number: Python reads no more than 4,300 digits
        return Unread(" ".join(str(error).split(";")[0].split()))


def _lines(file: BinaryIO, start: int) -> np.ndarray:
    places = []
    for line in file:
        if line.strip():
            places.append((start, start + len(line)))
        start += len(line)
    return np.array(places, dtype=np.int64).reshape(-1, 2)


def _array(path: Path, file: BinaryIO, start: int) -> np.ndarray:
    """Find the items of an array. What msgspec refuses, Python's reader may yet take (NaN), or name the line of."""
    try:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            places = _found(text, start)
    except (msgspec.DecodeError, RecursionError, ValueError):  # ValueError: nothing in it to map
        places = _walked(path, start)
    return np.asarray(places, np.int64).reshape(-1, 2)


def _found(text: mmap.mmap, start: int) -> Sequence[int]:
    places, at = array("q"), text.find(b"[", start) + 1
    for item in msgspec.json.decode(memoryview(text)[start:], type=list[msgspec.Raw]):
        between = _BETWEEN.match(text, at)
        assert between is not None
        at = between.end() + memoryview(item).nbytes
        places.extend((between.end(), at))
    return places


def _walked(path: Path, start: int) -> Sequence[int]:
    """Find them with the strict reader. It reads bytes here, a character each: they are places, and structure is ASCII."""
    unread = json.JSONDecoder(parse_int=len)  # a number of thousands of digits is one item's fault
    try:
        with path.open(encoding="latin-1", newline="") as file:
            file.seek(start)
            return [start + place for first, _, last in array_items(path, file, unread) for place in (first, last)]
    except BadInput:
        fault(path)
