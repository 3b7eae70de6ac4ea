"""The pictures in the cells of official files: Parquet's bytes, a TSV's base64. The other columns are table.py's."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.questions import shown
from tinyllava_core.evaluate.questions.table import Row, parquet_rows, picture_names, separated, table_files

_SHORT = 64  # characters of a TSV's picture cell; shorter is no picture but the index of the row that has it


def write_pictures(annotations: Path, folder: Path, columns: Sequence[str] = ("image",)) -> int:
    """Write the pictures of a table's cells under their names -> how many. What is there is left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    written, place = 0, 0
    for file in table_files(annotations):
        for row in _picture_rows(file, columns):
            there = [cell for cell in row if cell is not None]
            names = picture_names(
                Row(cells=dict(zip(columns, row, strict=True)), where=str(file), place=place, embedded=True), columns
            )
            for name, picture in zip(names, there, strict=True):
                if not (folder / name).exists():
                    (folder / name).write_bytes(picture)
                written += 1
            place += 1
    return written


def picture_sizes(annotations: Path, columns: Sequence[str] = ("image",)) -> list[tuple[int, int]]:
    """Give width and height of each row's first picture, out of a table's cells. Raises BadInput on one that is none."""
    from PIL import Image, UnidentifiedImageError

    sizes = list[tuple[int, int]]()
    for file in table_files(annotations):
        for row in _picture_rows(file, columns):
            try:
                with Image.open(BytesIO(row[0] or b"")) as picture:
                    sizes.append(picture.size)
            except (OSError, UnidentifiedImageError):
                raise BadInput(
                    f"{annotations}, row {len(sizes)}: its picture is none; download the file again"
                ) from None
    return sizes


def _picture_rows(file: Path, columns: Sequence[str]) -> Iterator[tuple[bytes | None, ...]]:
    if file.suffix == ".parquet":
        for number, row in enumerate(parquet_rows(file, columns)):
            yield tuple(_picture(row.get(name), f"{file}, row {number}, {name}") for name in columns)
        return
    if file.suffix != ".tsv":
        raise BadInput(f"{file}: no pictures in it; expected a Parquet file, or a TSV with pictures in base64")
    cells = [(row.get("index", ""), row.get(columns[0], "")) for row in separated(file)]
    whole = {index: cell for index, cell in cells if len(cell) > _SHORT}
    for index, cell in cells:
        found = cell if len(cell) > _SHORT else whole.get(cell.strip(), cell)
        yield (_base64(found, f"{file}, index {index}"),)


def _picture(cell: Any, where: str) -> bytes | None:
    """Take a picture out of a cell: bytes, {bytes, path}, or a list of one of them."""
    if isinstance(cell, list):
        cell = cell[0] if cell else None
    if isinstance(cell, dict):
        cell = cell.get("bytes")
    if cell is not None and not isinstance(cell, bytes):
        raise BadInput(f"{where}: {shown(cell)}; expected a picture's bytes")
    return cell


def _base64(text: str, where: str) -> bytes:
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if not found:
        raise BadInput(f"{where}: image = {shown(text)}; expected a picture in base64, or the index of a row with one")
    return found
