"""Read rows, in order and some at a time, from files of any kind that people keep them in. It changes none of them.

Parquet, CSV, JSON (an array, lines, COCO's captions), and tars of WebDataset's layout; told by the name's ending.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from tinyllava_core.data.files.archive_members import members
from tinyllava_core.data.files.cells import quotes_pair, wide_cells
from tinyllava_core.data.record.json_items import json_items
from tinyllava_core.errors import BadInput

PARQUET, TABLES, JSONS = (".parquet",), (".csv", ".tsv"), (".json", ".jsonl")
TARS = (".tar", ".tar.gz", ".tgz", ".tar.zst")
READ = (*PARQUET, *TABLES, *JSONS, *TARS)
UNREADABLE = (
    "unreadable"  # the one key of a row whose values cannot be read: a record of no format, which inspection drops
)
_BATCH_BYTES = 32_000_000  # about what is read of a Parquet file at once
_MOST_ROWS = 1024
BUFFER_BYTES = 4_000_000  # read of a column at a time; Arrow's default is all of it in the row group
_PICTURES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm", "avif")


def rows(file: Path) -> Iterator[dict[str, Any]]:
    """Give the rows of a file as JSON-like values, in which pictures are bytes.

    Raises BadInput, naming the file, if it is broken.
    """
    name = file.name.lower()
    if name.endswith(PARQUET):
        return _parquet(file)
    if name.endswith(TABLES):
        return _table(file)
    if name.endswith(JSONS):
        return _json(file)
    if name.endswith(TARS):
        return _tar(file)
    raise BadInput(f"{file}: expected a file of rows ({', '.join(READ)})")


def num_rows(file: Path) -> int | None:
    """Tell how many rows a file has, where that costs nothing."""
    try:
        return int(pq.read_metadata(file).num_rows) if file.name.lower().endswith(PARQUET) else None
    except (pa.ArrowInvalid, OSError):
        return None


def batch_rows(group: pq.RowGroupMetaData) -> int:
    """Say how many rows of a row group are read at once."""
    size = max(1, group.total_byte_size // max(1, group.num_rows))
    return max(1, min(_MOST_ROWS, _BATCH_BYTES // size))


def _parquet(file: Path) -> Iterator[dict[str, Any]]:
    """Read batch by batch: a row group of pictures may be more than memory, and than what Arrow can join."""
    try:
        with pq.ParquetFile(file, pre_buffer=False, buffer_size=BUFFER_BYTES) as source:
            for group in range(source.num_row_groups):
                batch_size = batch_rows(source.metadata.row_group(group))
                for batch in source.iter_batches(batch_size, row_groups=[group]):
                    yield from _values(batch)
    except (pa.ArrowException, OSError) as error:
        raise _broken(file, error) from None


def _values(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Give the rows; one with a value that Python cannot hold (text that is no UTF-8, the year 36,812) says that and no more."""
    try:
        return batch.to_pylist()
    except Exception as error:  # whatever a stranger's values do to those who read them
        if batch.num_rows > 1:
            return [row for at in range(batch.num_rows) for row in _values(batch.slice(at, 1))]
        return [{UNREADABLE: f"{type(error).__name__}: {error!s:.200}"}]


def _table(file: Path) -> Iterator[dict[str, Any]]:
    """Read a CSV or TSV with a head; a cell may be as long as a page, and a quote that no other closes is one of a TSV's letters."""
    tabs = file.suffix.lower() == ".tsv"
    try:
        with wide_cells(), file.open(encoding="utf-8-sig", newline="") as text:
            quoting: Literal[0, 3] = csv.QUOTE_NONE if tabs and not quotes_pair(file) else csv.QUOTE_MINIMAL
            reader = csv.DictReader(text, delimiter="\t" if tabs else ",", strict=True, quoting=quoting)
            names = Counter(reader.fieldnames or ())
            if twice := next((name for name, times in names.items() if times > 1), None):
                raise BadInput(f"{file}, line 1: column {twice!r} stands twice in the head; rename one")
            for row in reader:
                if None in row or None in row.values():
                    raise BadInput(f"{file}, line {reader.line_num}: another number of columns than the head has")
                yield dict(row)
    except (csv.Error, UnicodeDecodeError) as error:
        raise _broken(file, error) from None


def _json(file: Path) -> Iterator[dict[str, Any]]:
    if is_coco_captions(file):
        yield from _coco_captions(file)
        return
    for item in json_items(file):
        yield item if isinstance(item, dict) else {"messages": item} if isinstance(item, list) else {"value": item}


def is_coco_captions(file: Path) -> bool:
    """Tell, by its beginning, whether a JSON file is one object, as COCO's captions are."""
    if not file.is_file() or file.suffix.lower() != ".json":
        return False
    with file.open("rb") as start:
        return start.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{"


def _coco_captions(file: Path) -> Iterator[dict[str, Any]]:
    """Give each caption with its picture's name. One that is none costs itself; a file without any is another kind of file."""
    said, faults = list[dict[str, Any]](), list[Exception]()
    try:
        whole = json.loads(file.read_bytes())
        images, annotations = list(whole["images"]), list(whole["annotations"])
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise _not_coco(file, error) from None
    names: dict[Any, Any] = {}
    for image in images:
        with suppress(KeyError, TypeError):
            names[image["id"]] = image["file_name"]
    for one in annotations:
        try:
            named = names.get(one["image_id"], f"{one['image_id']}")
            said.append({"id": one["id"], "image": named, "caption": one["caption"]})
        except (KeyError, TypeError) as error:
            faults.append(error)
            said.append({UNREADABLE: f"{type(error).__name__}: {error!s:.200}"})
    if faults and len(faults) == len(said):
        raise _not_coco(file, faults[0])
    yield from said


def _not_coco(file: Path, error: Exception) -> BadInput:
    return BadInput(
        f"{file}: one object, and not COCO's captions (images with id and file_name, annotations with id, image_id and "
        f"caption): {type(error).__name__}: {error!s:.80}; a file of records is an array, or lines named *.jsonl"
    )


def _tar(file: Path) -> Iterator[dict[str, Any]]:
    """Group the members of a WebDataset tar by their name up to the first dot, as its readers do. A broken member costs its row."""
    key, row, fault = None, dict[str, Any](), ""
    with members(file) as (_, entries):
        for member in entries:
            if member.is_folder:
                continue
            if member.fault:
                raise BadInput(f"{file.name}: member {member.name!r} {member.fault}; take it out of the tar")
            path = PurePosixPath(member.name)
            stem, _, field = path.name.partition(".")
            found = str(path.with_name(stem)) if stem else str(path)
            if found != key and row:
                yield {UNREADABLE: fault} if fault else row
            if found != key:
                key, row, fault = found, {"id": found}, ""
            stream = member.open()
            assert stream is not None, "a plain file can be opened"
            try:
                _take(row, field.lower(), stream.read())
            except (ValueError, RecursionError) as error:  # ValueError: of text that is no UTF-8, too
                fault = f"member {member.name!r}: {' '.join(str(error).split()):.120}"
    if row:
        yield {UNREADABLE: fault} if fault else row


def _take(row: dict[str, Any], field: str, data: bytes) -> None:
    """Put one member into its row: pictures in order, JSON's keys as they are, any other text under its ending.

    Raises ValueError or RecursionError for a text that is none, JSON too.
    """
    if field.rpartition(".")[2] in _PICTURES:
        row.setdefault("images", []).append(data)
        return
    if field != "json":
        row["caption" if field == "txt" else re.sub(r"\W+", "_", field) or "text"] = data.decode()
        return
    value = json.loads(data)
    if isinstance(value, dict):
        row.update({key: one for key, one in value.items() if key not in ("image", "images") or "images" not in row})
    else:
        row["messages"] = value


def _broken(file: Path, error: Exception) -> BadInput:
    return BadInput(f"{file}: broken: {' '.join(str(error).split()):.200}; download it again or mend it")
