"""Read a table of image URLs: JSON lines, a JSON array, CSV, TSV or Parquet, told by its suffix. It fetches nothing."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import pyarrow as pa
import pyarrow.parquet as pq

from tinyllava_core.data.download.table.fault import FetchFault
from tinyllava_core.data.download.table.table import UrlRow
from tinyllava_core.data.files.archive import safe_path
from tinyllava_core.data.files.cells import quotes_pair
from tinyllava_core.data.record.json_items import json_items
from tinyllava_core.errors import BadInput, nearest
from tinyllava_core.secret import has_password, without_secrets

# bytes: NAME_MAX of the usual disks; PATH_MAX is 4096, and the workspace is in it
_LONGEST_NAME, _LONGEST_PATH = 255, 3000
_SHA256 = re.compile(r"[0-9a-f]{64}")


def read_rows(
    table: Path,
    *,
    url_column: str,
    name_column: str,
    base_url: str,
    sha256_column: str | None = None,
    as_written: Callable[[str], str] = str,
) -> list[UrlRow]:
    """Read the rows of a URL table; relative URLs are resolved against `base_url` ("" if the table has no URL itself).

    With a `sha256_column`, rows of one name and one sha256 are one picture: the first is given. Raises BadInput, naming the
    row, on an unknown suffix, a missing column, a name that is no relative path or is there twice. A row with any other
    fault is given out with it, not to be asked for: it becomes a failure.
    """
    seen: dict[str, int] = {}
    sums: dict[str, str] = {}
    folders: set[str] = set()
    rows: list[UrlRow] = []
    columns = (url_column, name_column, *([sha256_column] if sha256_column else []))
    for number, cells in enumerate(_cells(table, *columns), 1):
        if isinstance(cells, _Broken):
            rows.append(_faulty(f"row {number}", "", FetchFault.UNFORESEEN, cells.detail))
            continue
        name, url = cells[name_column], cells[url_column]
        path = safe_path(name) if isinstance(name, str) else None
        if path is None:
            raise BadInput(
                f"{table.name}, row {number}: {name_column} = {name!r}: expected a file name relative to the image root"
            )
        sha256 = str(cells[sha256_column]).lower() if sha256_column else ""
        if sha256_column and not _SHA256.fullmatch(sha256):
            raise BadInput(
                f"{table.name}, row {number}: {sha256_column} = {sha256!r:.80}: expected 64 hexadecimal digits"
            )
        if sha256 and sums.setdefault(str(path), sha256) == sha256 and str(path) in seen:
            continue
        if first := seen.setdefault(str(path), number) - number:
            raise BadInput(f"{table.name}, row {number}: {name_column} = {name!r} is in row {number + first} already")
        above = [str(parent) for parent in path.parents[:-1]]
        if fault := _unusable_name(path, seen, above, folders):
            del seen[str(path)]
            rows.append(_faulty(str(path), url, FetchFault.BAD_NAME, fault))
            continue
        folders.update(above)
        rows.append(replace(_row(str(path), url, base_url, as_written), sha256=sha256))
    return rows


def _row(name: str, url: object, base_url: str, as_written: Callable[[str], str]) -> UrlRow:
    """Make the row of a usable name. Rows are written by strangers: whatever is wrong with a URL is its row's fault alone."""
    if not isinstance(url, str) or not url:
        return UrlRow(name=name, url="", written=str(url or ""))
    try:
        absolute = urljoin(base_url, url)
        absolute.encode()
        if has_password(absolute):
            return _faulty(name, absolute, FetchFault.BAD_URL, "a user's name or password in a URL")
        if urlsplit(absolute).scheme in ("http", "https"):
            httpx.URL(absolute)
        return UrlRow(name=name, url=absolute, written=without_secrets(as_written(absolute)))
    except (ValueError, httpx.InvalidURL) as error:
        return _faulty(name, url, FetchFault.BAD_URL, str(error))
    except Exception as error:  # whatever a stranger's URL does to those who take it apart
        return _faulty(name, url, FetchFault.UNFORESEEN, f"{type(error).__name__}: {error}")


def _unusable_name(path: PurePosixPath, seen: Mapping[str, int], above: Sequence[str], folders: Collection[str]) -> str:
    """Say why no file can have this name beside those of the rows before; "" if one can."""
    try:
        if len(str(path).encode()) > _LONGEST_PATH or any(len(part.encode()) > _LONGEST_NAME for part in path.parts):
            return f"longer than {_LONGEST_NAME} bytes, or {_LONGEST_PATH} with its folders"
    except UnicodeEncodeError:
        return "half of a surrogate pair"
    if str(path) in folders or any(folder in seen for folder in above):
        return "a file and a folder of one name"
    return ""


def _faulty(name: str, url: object, fault: FetchFault, detail: str) -> UrlRow:
    """Make a row that is not asked for, in characters that any file of ours can hold."""
    written = without_secrets(url) if isinstance(url, str) else ""
    name, written, detail = (text.encode(errors="backslashreplace").decode() for text in (name, written, detail))
    return UrlRow(name=name, url="", written=written, fault=fault, detail=detail[:300])


@dataclass(frozen=True, slots=True)
class _Broken:
    """A row that could not be read."""

    detail: str


def _cells(table: Path, *columns: str) -> Iterator[dict[str, Any] | _Broken]:
    reader = _READERS.get(table.suffix)
    if reader is None:
        raise BadInput(f"{table.name}: unknown kind of table; expected one of {', '.join(_READERS)}")
    for number, row in enumerate(reader(table), 1):
        if isinstance(row, _Broken):
            yield row
            continue
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
            reader = csv.DictReader(file, delimiter=delimiter, strict=True)
            try:
                if delimiter == "\t" and not quotes_pair(table):
                    reader = csv.DictReader(file, delimiter=delimiter, quoting=csv.QUOTE_NONE)
                _ = reader.fieldnames  # reads the first line
                last = reader.reader.line_num
                while (row := _next(reader)) is not None:
                    if isinstance(
                        row, _Broken
                    ):  # a quote that does not close takes lines with it: each of them is told
                        yield from [row] * max(1, reader.reader.line_num - last)
                    else:
                        row.pop(None, None)  # type: ignore[call-overload]  # cells beyond the last named column
                        yield row
                    last = reader.reader.line_num
            except UnicodeDecodeError as error:
                raise BadInput(
                    f"{table.name}, behind line {reader.line_num}: not UTF-8 ({error.reason}); save the table as UTF-8"
                ) from None
            except csv.Error as error:
                raise BadInput(f"{table.name}, line 1: no names of columns: {error}") from None

    return rows


def _next(reader: csv.DictReader[str]) -> dict[str, Any] | _Broken | None:
    try:
        return next(reader, None)
    except (
        csv.Error
    ) as error:  # a field of more than 131,072 characters, a quote within one: the next line may be better
        return _Broken(str(error))


def _parquet(table: Path) -> Iterator[Any]:
    try:
        with pq.ParquetFile(table) as file:
            for batch in file.iter_batches():
                yield from batch.to_pylist()
    except (
        pa.ArrowException,
        UnicodeDecodeError,
        OSError,
    ) as error:  # an OSError too is about its bytes: the file was here a moment ago
        raise BadInput(f"{table.name}: not Parquet: {' '.join(str(error).split())}") from None


_READERS: dict[str, Callable[[Path], Iterator[Any]]] = {
    ".jsonl": json_items,
    ".json": json_items,
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    ".parquet": _parquet,
}
