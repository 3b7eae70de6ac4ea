"""Official files that are tables: Parquet, TSV, CSV, JSON, JSON lines, each row with its place; and the pictures in their cells.

What the columns mean is each benchmark's business. A cell of the wrong kind is one clear line.
"""

from __future__ import annotations

import ast
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyllava_core.data.files.cells import wide_cells
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.questions import (
    Files,
    Question,
    key,
    picture_finder,
    read_json,
    read_json_lines,
    shown,
    texts_of,
)

KINDS = (".parquet", ".tsv", ".csv", ".jsonl", ".json")
NAME = "_name"  # the cell that the key of {key: row} goes into
_ENDINGS = ("", ".png", ".jpg", ".jpeg", ".webp")
_MISSING = ("", "nan", "None", "NaN")  # of a TSV's cell
_MAX_DIGITS = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of an official file."""

    cells: Mapping[str, Any]
    where: str  # file and row, for faults
    place: int  # from 0, over all files
    embedded: bool  # pictures are in the file's cells

    def has(self, name: str) -> bool:
        """Tell whether a cell is there, and holds something."""
        return self.cells.get(name) not in (None, "")

    def text(self, name: str) -> str:
        """Give a text, or a number as text. Raises BadInput on anything else."""
        return str(key(self.cells, name, (str, int, float), self.where))

    def number(self, name: str) -> int:
        """Give a whole number, or a text of digits. Raises BadInput on anything else."""
        value = key(self.cells, name, (str, int), self.where)
        if isinstance(value, str):
            if not value.strip().isdecimal() or len(value) > _MAX_DIGITS:
                raise BadInput(f"{self.where}: {name} = {shown(value)}; expected a number")
            return int(value)
        return int(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """Give a list of texts, or one written out as text, in Python or JSON, where other values are taken as written.

        Raises BadInput on anything else, and on a list with nothing in it.
        """
        value = key(self.cells, name, (str, list), self.where)
        if isinstance(value, str) and isinstance(found := _written_out(value), list):
            value = [str(one) for one in found]
        if value == []:
            raise BadInput(f"{self.where}: {name} = []; expected one or more")
        return texts_of({name: value}, name, self.where)

    def letter(self, name: str, num_options: int) -> str:
        """Give the letter of an option: `B`, `(B)` or `b`. Raises BadInput on anything else."""
        value = self.text(name)
        found = value.strip().strip("()").upper()
        known = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[:num_options]
        if len(found) != 1 or found not in known:
            raise BadInput(f"{self.where}: {name} = {shown(value)}; expected one of {known}")
        return found

    def options(self) -> tuple[str, ...]:
        """Give the options that stand in columns A, B, ... up to the first that is missing."""
        found = []
        for letter in "ABCDEFGHIJ":
            if str(self.cells.get(letter) or "") in _MISSING:
                break
            found.append(self.text(letter))
        return tuple(found)


class Pictures:
    """Says under which name each row's pictures are: out of its cells, by the name that it gives, or by its id."""

    def __init__(self, files: Files, folders: Sequence[str] = ("",), columns: Sequence[str] = ("image",)) -> None:
        self._columns = columns
        self._find = picture_finder(files.images, folders, _ENDINGS)

    def of(self, row: Row, stem: str) -> tuple[str, ...]:
        """Give the paths of a row's pictures under the image root. `stem`: where the row does not name them."""
        if row.embedded:
            return picture_names(row, self._columns)
        named = [row.text(name) for name in self._columns if isinstance(row.cells.get(name), str) and row.has(name)]
        return tuple(map(self._find, named)) or (self._find(stem),)


def picture_names(row: Row, columns: Sequence[str]) -> tuple[str, ...]:
    """Name the pictures in a row's cells; `write_pictures` writes them under these names."""
    there = [name for name in columns if row.cells.get(name) is not None]
    if len(columns) == 1 or len(there) < 2:
        return (f"{row.place}.jpg",) if there else ()
    return tuple(f"{row.place}-{number}.jpg" for number in range(1, len(there) + 1))


def question_of(row: Row, pictures: Sequence[str], **fields: Any) -> Question:
    """Make a row's question."""
    return Question(image=pictures[0] if pictures else None, others=tuple(pictures[1:]), **fields)


def read_rows(path: Path) -> list[Row]:
    """Read a table: one file, or a folder with Parquet files or with one file of another kind. Pictures stay where they are.

    JSON: a list of objects, {"data": [...]} or the like, or {key: object}. Raises BadInput on another shape, and on none.
    """
    rows: list[Row] = []
    for file in table_files(path):
        embedded = file.suffix in (".parquet", ".tsv")
        for where, cells in _cells(file):
            rows.append(Row(cells=cells, where=where, place=len(rows), embedded=embedded))
    if not rows:
        raise BadInput(f"{path}: no rows; expected the benchmark's questions")
    return rows


def table_files(path: Path) -> list[Path]:
    """List the files of a table: one, or those of a folder. Raises BadInput where it is not plain which."""
    if not path.is_dir():
        return [path]
    for kind in KINDS:
        found = sorted(path.rglob(f"*{kind}"))
        if kind == ".parquet" and found:
            return found
        if len(found) == 1:
            return found
        if found:
            names = ", ".join(one.name for one in found[:5])
            raise BadInput(f"{path}: {len(found)} files *{kind} ({names}); name the one with the questions")
    raise BadInput(f"{path}: no table in this folder; expected a file {', '.join(f'*{kind}' for kind in KINDS)}")


def _cells(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if file.suffix == ".parquet":
        for number, row in enumerate(parquet_rows(file, None)):
            yield f"{file}, row {number}", row
    elif file.suffix in (".tsv", ".csv"):
        for number, row in enumerate(separated(file), start=1):
            yield f"{file}, row {number}", row
    elif file.suffix == ".jsonl":
        for number, row in read_json_lines(file):
            yield f"{file}, line {number}", row
    else:
        yield from _json_rows(file, read_json(file))


def _json_rows(file: Path, whole: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(whole, dict):
        lists = [name for name in ("data", "questions", "annotations") if isinstance(whole.get(name), list)]
        whole = whole[lists[0]] if lists else [{NAME: name} | _object(row, file, name) for name, row in whole.items()]
    if not isinstance(whole, list):
        raise BadInput(f"{file}: found a JSON {type(whole).__name__}; expected a list of objects, or {{id: object}}")
    for number, row in enumerate(whole):
        yield f"{file}, [{number}]", _object(row, file, str(number))


def _object(row: Any, file: Path, name: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise BadInput(f"{file}, [{shown(name)}]: found a JSON {type(row).__name__}; expected an object")
    return row


def separated(file: Path) -> Iterator[dict[str, str]]:
    """Read a TSV or CSV with a head, row by row. Raises BadInput if it is no text."""
    try:
        with wide_cells(), file.open(encoding="utf-8", newline="") as opened:
            for row in csv.DictReader(opened, delimiter="\t" if file.suffix == ".tsv" else ",", strict=True):
                yield {name: value or "" for name, value in row.items() if isinstance(name, str)}
    except (FileNotFoundError, IsADirectoryError):
        raise BadInput(f"{file}: no such file") from None
    except OSError as error:
        raise BadInput(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{file}: byte {error.start} is not UTF-8; expected a text file") from None
    except csv.Error as error:
        raise BadInput(
            f"{file}: {error}; expected a table of texts, a quote that begins a cell closed at its end, and those in it doubled"
        ) from None


def parquet_rows(file: Path, columns: Sequence[str] | None) -> Iterator[dict[str, Any]]:
    """Read rows; `columns` None: all but the bytes of pictures, of which only their being there is read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as opened:
            leaves = [opened.schema.column(number) for number in range(len(opened.schema))]
            wanted = columns or [leaf.path for leaf in leaves if not _is_bytes(leaf)]
            names = [name for name in opened.schema_arrow.names if any(one.split(".")[0] == name for one in wanted)]
            for batch in opened.iter_batches(batch_size=256, columns=wanted):
                yield from batch.to_pylist()
            if columns and set(columns) - set(names):
                raise BadInput(f"{file}: no column {', '.join(sorted(set(columns) - set(names)))}")
    except FileNotFoundError:
        raise BadInput(f"{file}: no such file") from None
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise BadInput(f"{file}: cannot be read as Parquet: {shown(str(error))}; download it again") from None


def _is_bytes(leaf: Any) -> bool:
    return leaf.physical_type in ("BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY") and leaf.logical_type.type == "NONE"


def _written_out(text: str) -> Any:
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
    return text
