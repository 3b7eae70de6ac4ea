"""Turn files of rows into one annotation file and tars of their pictures, file by file; what is done is not done again.

A file's work is a unit: its tar, then its lines, each written aside and renamed. A killed call goes on at the next unit,
and what a unit was made from may be deleted behind it: five terabytes of Parquet never lie here whole.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import orjson

from tinyllava_core.artifact import aside_of
from tinyllava_core.data.download.embedded.pictures import PictureTar, taken_out
from tinyllava_core.data.download.embedded.rows import READ, UNREADABLE, num_rows, rows
from tinyllava_core.data.record.values import ORIGIN_KEY
from tinyllava_core.durable import publish
from tinyllava_core.errors import BadInput

Numbered = Iterator[tuple[int, dict[str, Any]]]  # rows, each with its number in its file
OnRows = Callable[[int, int], None]  # (rows done, rows in all; 0: not known)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFile:
    """One file of rows of a data set."""

    name: str  # relative, as the data set names it
    subset: str
    identity: str  # changes with its bytes: a checksum, or size and time
    row_group: int | None = None  # None: all of it


@dataclass(frozen=True, slots=True, kw_only=True)
class LaidOut:
    """What came of one file of rows."""

    num_rows: int
    num_pictures: int
    size_bytes: int


def lay_out(
    file: RowFile,
    bring: Callable[[], Path],
    work: Path,
    pictures: bool,
    on_rows: OnRows,
    read: Callable[[Path], Numbered] | None = None,
) -> LaidOut:
    """Make the unit of one file, unless it is there. `bring` gives the file itself, and is asked only if it is needed.

    `pictures`: take the pictures out of the rows; otherwise a row that holds bytes is a fault. Raises BadInput on it.
    `read`: gives the rows that are wanted, each with its number; None: all.
    """
    lines = lines_of(file, work)
    if not lines.is_file():
        lines.parent.mkdir(parents=True, exist_ok=True)
        _write(file, bring(), work, pictures, on_rows, read or _all_rows)
    tar = tar_of(file, work)
    head = lines.open("rb").readline()
    told = orjson.loads(head)
    size = lines.stat().st_size - len(head) + (tar.stat().st_size if tar.is_file() else 0)
    return LaidOut(num_rows=told["num_rows"], num_pictures=told["num_pictures"], size_bytes=size)


def put_together(files: list[RowFile], work: Path, annotations: Path, images: Path) -> None:
    """Join the lines of all units, in order, and move their tars under the image root."""
    aside = aside_of(annotations)
    with aside.open("wb") as whole:
        for file in files:
            with lines_of(file, work).open("rb") as lines:
                lines.readline()  # the unit's own head
                shutil.copyfileobj(lines, whole, 1 << 22)
    for file in files:
        if (tar := tar_of(file, work)).is_file():
            target = images / tar_name(file)
            target.parent.mkdir(parents=True, exist_ok=True)
            publish(tar, target)
    publish(aside, annotations)


def tar_name(file: RowFile) -> str:
    """Name the tar of a file's pictures, relative to the image root: its subset's folder, its own stem."""
    path = PurePosixPath(file.name)
    subset = re.sub(r"[/\\\0]", "_", file.subset).lstrip(".")
    folders = [part for part in path.parent.parts if part not in (".", "..", "/", file.subset)]
    ending = next(ending for ending in READ if path.name.lower().endswith(ending))
    part = "" if file.row_group is None else f".{file.row_group}"
    return str(PurePosixPath(subset, *folders, f"{path.name[: -len(ending)]}{part}.tar"))


def lines_of(file: RowFile, work: Path) -> Path:
    """Name the lines of a unit; they appear when it is done."""
    return work / f"{_unit(file)}.jsonl"


def tar_of(file: RowFile, work: Path) -> Path:
    """Name the tar of a unit."""
    return work / f"{_unit(file)}.tar"


def _unit(file: RowFile) -> str:
    told = f"{file.name}\t{file.subset}\t{file.identity}" + ("" if file.row_group is None else f"\t{file.row_group}")
    return hashlib.sha256(told.encode(errors="surrogateescape")).hexdigest()[:20]


def _all_rows(here: Path) -> Numbered:
    return enumerate(rows(here))


def _write(
    file: RowFile, here: Path, work: Path, pictures: bool, on_rows: OnRows, read: Callable[[Path], Numbered]
) -> None:
    lines, total, done = lines_of(file, work), num_rows(here) or 0, 0
    aside, given = aside_of(lines), read(here)
    with PictureTar(tar_of(file, work), tar_name(file)) as tar, aside.open("wb", buffering=1 << 20) as text:
        text.write(b" " * _HEAD + b"\n")
        for line in lines_for(file, given, tar.add if pictures else None):
            text.write(line)
            done += 1
            if done % 64 == 0:
                on_rows(done, total)
        head = orjson.dumps({"num_rows": done, "num_pictures": tar.num_pictures})
        text.seek(0)
        text.write(head.ljust(_HEAD))
    if not tar.num_pictures:
        tar_of(file, work).unlink()
    publish(aside, lines)
    on_rows(done, total or done)


_HEAD = 80  # bytes of a unit's first line, which counts what is in it


def lines_for(file: RowFile, given: Numbered, add: Callable[[bytes], str] | None) -> Iterator[bytes]:
    """Write rows as JSON lines that say where they were. `add`: takes a picture -> its path; None: bytes are a fault.

    Raises BadInput on it.
    """
    for number, row in given:
        try:
            taken = taken_out(row, add) if add else row
        except RecursionError:
            taken = {UNREADABLE: "nested too deeply"}
        taken[ORIGIN_KEY] = {"subset": file.subset, "file": file.name, "row": number}
        try:
            yield orjson.dumps(taken, default=_plain, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS)
        except TypeError as error:
            if isinstance(error.__cause__, _Bytes):
                raise BadInput(
                    f"{file.name}, row {number}: it holds bytes; say images: [{{embedded: true}}] if they are pictures"
                ) from None
            # half a surrogate pair, a number over 64 bits: inspect judges them, one record each
            yield json.dumps(taken, default=_plain).encode() + b"\n"


class _Bytes(Exception):
    pass


def _plain(value: Any) -> Any:
    """Write what JSON has no word for: dates and decimal numbers as texts. Bytes are none."""
    if isinstance(value, bytes):
        raise _Bytes
    return str(value)
