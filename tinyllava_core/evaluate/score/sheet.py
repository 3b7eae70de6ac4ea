"""Excel sheets of plain cells, as one benchmark's server takes them. Not a spreadsheet: one sheet, texts, whole numbers, no formats.

They are read with openpyxl, since anybody may have written them. They are written here: openpyxl would make a formula of an answer
that begins with "=", cut a long one, and put the time of day into the file.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from tinyllava_core.durable import publish
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
MAX_CELLS = 5_000_000  # many times any benchmark's upload


def write_sheet(path: Path, rows: Sequence[Sequence[Cell]]) -> None:
    """Write rows as an .xlsx file; None is an empty cell."""
    body = "".join(f"<row>{''.join(map(_cell, row))}</row>" for row in rows)
    parts = {
        **_PARTS,
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{_MAIN}"><sheetData>{body}</sheetData></worksheet>',
    }
    aside = path.with_name(f".{path.name}.partial")
    try:
        with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in parts.items():
                archive.writestr(zipfile.ZipInfo(name, _FIXED), _HEAD + text, zipfile.ZIP_DEFLATED)
        publish(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def _cell(value: Cell) -> str:
    if value is None:
        return "<c/>"
    if isinstance(value, int):
        return f"<c><v>{value}</v></c>"
    text = escape(_UNWRITABLE.sub("", value))
    return f'<c t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'


def read_sheet(path: Path) -> list[list[str]]:
    """Read the first sheet's cells as texts, an empty one as "".

    Raises BadInput if the file is no .xlsx, or has more cells than any upload: one far cell would stand for a billion empty ones.
    """
    from openpyxl import load_workbook

    rows, cells = list[list[str]](), 0
    try:
        with path.open("rb") as file:
            sheet = load_workbook(file, read_only=True, data_only=True).worksheets[0]
            sheet.reset_dimensions()  # each row as wide as it is, whatever the file claims of itself
            for row in sheet.iter_rows(values_only=True):
                cells += 1 + len(row)
                if cells > MAX_CELLS:
                    raise BadInput(
                        f"{path}: more than {MAX_CELLS:,} cells up to its last one; expected an upload sheet"
                    )
                rows.append(["" if value is None else str(value) for value in row])
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except BadInput:
        raise
    except Exception:  # the library raises whatever it stumbles over
        raise BadInput(f"{path}: cannot be read as an Excel sheet; expected an .xlsx file") from None
    return rows
