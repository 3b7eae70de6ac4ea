"""Excel sheets of plain cells, as one benchmark's server takes them: written and read without a spreadsheet library.

Not a spreadsheet: one sheet, texts and whole numbers, no formats.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from tinyllava_core.errors import BadInput

_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")  # XML has no way to write these
_PARTS = {
    "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPE}.sheet.main+xml"/>'
    f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_TYPE}.worksheet+xml"/></Types>',
    "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
    f'Type="{_RELATIONS}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_RELATIONS}"><sheets>'
    '<sheet name="Sheet1" sheetId="1" r:id="rId1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
    f'Type="{_RELATIONS}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
}
_FIXED = (1980, 1, 1, 0, 0, 0)  # equal rows, equal bytes
Cell = str | int | None


def write_sheet(path: Path, rows: Sequence[Sequence[Cell]]) -> None:
    """Write rows as an .xlsx file; None is an empty cell."""
    body = "".join(f"<row>{''.join(map(_cell, row))}</row>" for row in rows)
    parts = {
        **_PARTS,
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{_MAIN}"><sheetData>{body}</sheetData></worksheet>',
    }
    aside = path.with_name(f".{path.name}.partial")
    with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(zipfile.ZipInfo(name, _FIXED), _HEAD + text, zipfile.ZIP_DEFLATED)
    aside.rename(path)


def _cell(value: Cell) -> str:
    if value is None:
        return "<c/>"
    if isinstance(value, int):
        return f"<c><v>{value}</v></c>"
    text = escape(_UNWRITABLE.sub("", value))
    return f'<c t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'


def read_sheet(path: Path) -> list[list[str]]:
    """Read the first sheet's cells as texts, an empty one as "". Raises BadInput if the file is no .xlsx."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(name for name in archive.namelist() if re.fullmatch(r"xl/worksheets/sheet\d+\.xml", name))
            shared = _shared(archive)
            sheet = ElementTree.fromstring(archive.read(names[0]))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except (zipfile.BadZipFile, KeyError, IndexError, ElementTree.ParseError):
        raise BadInput(f"{path}: cannot be read as an Excel sheet; expected an .xlsx file") from None
    return [_row(row, shared) for row in sheet.iter(f"{{{_MAIN}}}row")]


def _shared(archive: zipfile.ZipFile) -> list[str]:
    if "xl/sharedStrings.xml" not in archive.namelist():
        return []
    root = ElementTree.fromstring(archive.read("xl/sharedStrings.xml"))
    return ["".join(text.text or "" for text in one.iter(f"{{{_MAIN}}}t")) for one in root.iter(f"{{{_MAIN}}}si")]


def _row(row: ElementTree.Element, shared: Sequence[str]) -> list[str]:
    cells: list[str] = []
    for cell in row.iter(f"{{{_MAIN}}}c"):
        column = _column(cell.get("r"))
        cells += [""] * ((len(cells) if column is None else column) - len(cells))
        value = cell.find(f"{{{_MAIN}}}v")
        if cell.get("t") == "inlineStr":
            cells.append("".join(text.text or "" for text in cell.iter(f"{{{_MAIN}}}t")))
        elif cell.get("t") == "s" and value is not None:
            cells.append(shared[int(value.text or 0)])
        else:
            cells.append((value.text or "") if value is not None else "")
    return cells


def _column(reference: str | None) -> int | None:
    """Give a cell's column, from 0: "B7" is 1."""
    if reference is None:
        return None
    column = 0
    for letter in reference.rstrip("0123456789"):
        column = 26 * column + ord(letter) - ord("A") + 1
    return column - 1
