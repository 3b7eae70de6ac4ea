"""How a command shows rows: a table on a terminal, aligned text in a pipe, CSV, JSON. It knows no command."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from tinyllava_core.errors import visible

Row = tuple[Any, ...]


def show(columns: Sequence[str], rows: Sequence[Row], form: str = "table") -> None:
    """Print rows as a table (on a terminal, or plain), CSV or JSON."""
    if form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerows([columns, *rows])
    elif form == "json":
        objects = [dict(zip(columns, map(_json_value, row), strict=True)) for row in rows]
        print(json.dumps(objects, indent=1, ensure_ascii=False, default=str))
    elif sys.stdout.isatty():
        _show_rich(columns, rows)
    else:
        _show_plain(columns, rows)


def _show_rich(columns: Sequence[str], rows: Sequence[Row]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, caption=None if rows else "no rows")
    for number, name in enumerate(columns):
        table.add_column(Text(name), justify="right" if _is_numeric(rows, number) else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    Console().print(table)


def _show_plain(columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Aligned columns, nothing cut off: for a pipe, a file, a page of documentation."""
    cells = [list(columns), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[number]) for row in cells) for number in range(len(columns))]
    right = [_is_numeric(rows, number) for number in range(len(columns))]
    cells.insert(1, ["-" * width for width in widths])
    for row in cells:
        padded = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True))
        print("  ".join(padded).rstrip())


def _is_numeric(rows: Sequence[Row], number: int) -> bool:
    kinds = {type(row[number]) for row in rows} - {type(None)}
    return bool(kinds) and all(issubclass(kind, (int, float, Decimal)) and kind is not bool for kind in kinds)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and 1e-4 <= abs(value) < 1e15:
        return f"{value:.4f}".rstrip("0").rstrip(".")
    if isinstance(value, float):
        return f"{value:.4g}"
    return visible(" ".join(str(value).split()))


def _json_value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
