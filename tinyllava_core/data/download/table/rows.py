"""Read a table of image URLs: JSON lines, a JSON array, CSV, TSV or Parquet, told by its suffix. It fetches nothing."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pyarrow as pa
import pyarrow.parquet as pq

from tinyllava_core.data.download.table.table import UrlRow
from tinyllava_core.data.files.archive import safe_path
from tinyllava_core.data.record.json_items import json_items
from tinyllava_core.errors import BadInput, nearest


def read_rows(
    table: Path, *, url_column: str, name_column: str, base_url: str, as_written: Callable[[str], str] = str
) -> list[UrlRow]:
    """Read the rows of a URL table; relative URLs are resolved against `base_url` ("" if the table has no URL itself).

    Raises BadInput, naming the row, on an unknown suffix, a missing column, a name that is no relative path or is there
    twice. A row without a URL is given out with an empty one: it becomes a failure.
    """
    seen: dict[str, int] = {}
    rows: list[UrlRow] = []
    for number, cells in enumerate(_cells(table, url_column, name_column), 1):
        name, url = cells[name_column], cells[url_column]
        path = safe_path(name) if isinstance(name, str) else None
        if path is None:
            raise BadInput(
                f"{table.name}, row {number}: {name_column} = {name!r}: expected a file name relative to the image root"
            )
        if first := seen.setdefault(str(path), number) - number:
            raise BadInput(f"{table.name}, row {number}: {name_column} = {name!r} is in row {number + first} already")
        absolute = urljoin(base_url, url) if isinstance(url, str) and url else ""
        rows.append(UrlRow(name=str(path), url=absolute, written=as_written(absolute) if absolute else str(url or "")))
    return rows


def _cells(table: Path, *columns: str) -> Iterator[dict[str, Any]]:
    reader = _READERS.get(table.suffix)
    if reader is None:
        raise BadInput(f"{table.name}: unknown kind of table; expected one of {', '.join(_READERS)}")
    for number, row in enumerate(reader(table), 1):
        if not isinstance(row, dict):
            raise BadInput(f"{table.name}, row {number}: expected an object, found {type(row).__name__}")
        for column in columns:
            if column not in row:
                raise BadInput(
                    f"{table.name}, row {number}: no column {column!r}{nearest(column, row)}. Columns: {', '.join(row)}"
                )
        yield row


def _separated(delimiter: str) -> Callable[[Path], Iterator[Any]]:
    def rows(table: Path) -> Iterator[Any]:
        with table.open(encoding="utf-8-sig", newline="") as file:
            yield from csv.DictReader(file, delimiter=delimiter)

    return rows


def _parquet(table: Path) -> Iterator[Any]:
    try:
        with pq.ParquetFile(table) as file:
            for batch in file.iter_batches():
                yield from batch.to_pylist()
    except pa.ArrowInvalid as error:
        raise BadInput(f"{table.name}: not Parquet: {' '.join(str(error).split())}") from None


_READERS: dict[str, Callable[[Path], Iterator[Any]]] = {
    ".jsonl": json_items,
    ".json": json_items,
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    ".parquet": _parquet,
}
