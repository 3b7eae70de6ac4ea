"""Excel sheets, against an independent library in both directions."""

from __future__ import annotations

from pathlib import Path

import openpyxl
import pytest

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.score.sheet import read_sheet, write_sheet

ROWS = [["index", "question", "prediction"], [3, "a < b & c > d", 'say "x"'], [1000003, None, "  zwei\nZeilen ü"]]


def test_a_library_reads_what_we_write(tmp_path: Path) -> None:
    write_sheet(tmp_path / "a.xlsx", ROWS)
    sheet = openpyxl.load_workbook(tmp_path / "a.xlsx").active
    assert [list(row) for row in sheet.iter_rows(values_only=True)] == ROWS


def test_we_read_what_a_library_writes(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in ROWS:
        book.active.append(row)
    book.save(tmp_path / "b.xlsx")
    assert read_sheet(tmp_path / "b.xlsx") == [[str(cell or "") for cell in row] for row in ROWS]


def test_we_read_what_we_write_and_equal_rows_are_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_sheet(tmp_path / f"{name}.xlsx", ROWS)
    assert (tmp_path / "a.xlsx").read_bytes() == (tmp_path / "b.xlsx").read_bytes()
    assert read_sheet(tmp_path / "a.xlsx") == [[str(cell or "") for cell in row] for row in ROWS]


def test_a_control_character_that_xml_cannot_hold_is_left_out(tmp_path: Path) -> None:
    write_sheet(tmp_path / "a.xlsx", [["a\x07b"]])
    assert read_sheet(tmp_path / "a.xlsx") == [["ab"]]


def test_what_is_no_sheet_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        read_sheet(tmp_path / "a.xlsx")
    (tmp_path / "a.xlsx").write_text("index,prediction")
    with pytest.raises(BadInput, match="cannot be read as an Excel sheet"):
        read_sheet(tmp_path / "a.xlsx")
