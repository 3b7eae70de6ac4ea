"""Excel sheets, against an independent library in both directions."""

from __future__ import annotations

import zipfile
from pathlib import Path

import openpyxl
import pytest

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.score import sheet
from tinyllava_core.evaluate.score.sheet import read_sheet, write_sheet

ROWS = [["index", "question", "prediction"], [3, "a < b & c > d", 'say "x"'], [1000003, None, "  zwei\nZeilen ü"]]
FAR = '<row r="{row}"><c r="{column}{row}"><v>1</v></c></row></sheetData>'


def test_a_library_reads_what_we_write(tmp_path: Path) -> None:
    write_sheet(tmp_path / "a.xlsx", ROWS)
    first = openpyxl.load_workbook(tmp_path / "a.xlsx").active
    assert [list(row) for row in first.iter_rows(values_only=True)] == ROWS


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


def test_an_answer_is_a_text_whatever_it_looks_like(tmp_path: Path) -> None:
    """A spreadsheet library takes "=" for a formula, and cuts a text of more than 32,767 letters."""
    write_sheet(tmp_path / "a.xlsx", [["=1+1", "x" * 40_000]])
    assert read_sheet(tmp_path / "a.xlsx") == [["=1+1", "x" * 40_000]]


def test_the_first_sheet_is_the_books_own_first(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["second"])
    book.create_sheet("first", index=0).append(["first"])
    book.save(tmp_path / "a.xlsx")
    assert read_sheet(tmp_path / "a.xlsx") == [["first"]]


@pytest.mark.parametrize(
    ("column", "row", "said"),
    [
        ("ZZZZZZ", 2, "cannot be read as an Excel sheet"),  # 308 million columns
        ("XFD", 400, "cells up to its last one"),
        ("A", 9_999_999, "cells up to its last one"),
    ],
)
def test_one_far_cell_does_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str, row: int, said: str
) -> None:
    monkeypatch.setattr(sheet, "MAX_CELLS", 10_000)
    write_sheet(tmp_path / "plain.xlsx", [["index"]])
    with zipfile.ZipFile(tmp_path / "plain.xlsx") as plain, zipfile.ZipFile(tmp_path / "far.xlsx", "w") as far:
        for name in plain.namelist():
            far.writestr(name, plain.read(name).decode().replace("</sheetData>", FAR.format(column=column, row=row)))
    with pytest.raises(BadInput, match=said):
        read_sheet(tmp_path / "far.xlsx")
