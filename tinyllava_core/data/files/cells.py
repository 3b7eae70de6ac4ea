"""Cells of CSV and TSV files as strangers write them: long ones, and quotes that mean nothing. What the columns are it does not know."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def wide_cells() -> Iterator[None]:
    """Let a cell of a table be as long as a picture is, for as long as the block lasts: the limit is the whole process's."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def quotes_pair(table: Path) -> bool:
    """Tell whether a TSV's quotes are CSV's own, or may be; where none of them means anything, a cell may begin with one."""
    with table.open(encoding="utf-8-sig", newline="") as file:
        try:
            for _ in csv.reader(file, delimiter="\t", strict=True):
                pass
        except csv.Error as error:
            return "limit" in str(error)  # of a cell's length
    return True
