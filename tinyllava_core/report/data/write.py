"""Write the data page of a run: what its sources are like, what its mixes are made of over time, and what looks alike in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from markupsafe import Markup

from tinyllava_core.data.inspect.small import inline
from tinyllava_core.report.data.mixes import MixedRow, alike, mixed_rows
from tinyllava_core.report.data.sources import SourceRow, source_rows
from tinyllava_core.report.facts import RunFacts
from tinyllava_core.report.figures import draw_counts, draw_shares
from tinyllava_core.report.html import render
from tinyllava_core.report.scores import WAYS

PAGE = "data.html"
_BINS = 32
_OUTER = 99.5  # percent of the values that a figure shows: one long record would make the others a line


def write_data_page(facts: RunFacts, folder: Path, back: str | None = None) -> Path:
    """Write data.html into `folder`, one file that needs nothing else -> the page. `back`: a link to the run's page."""
    page = render(
        Path(__file__).parent / PAGE,
        run=facts,
        back=back,
        sources=[(row, _figures(row)) for row in source_rows(facts)],
        mixes=[(row, Markup(_shares(row))) for row in mixed_rows(facts)],
        alike=list(alike(facts)),
        ways=WAYS | {"text": "says the same"},
        inline=inline,
    )
    (folder / PAGE).write_text(page, encoding="utf-8", errors="backslashreplace")
    return folder / PAGE


def _figures(row: SourceRow) -> list[tuple[str, Markup, str]]:
    """Draw a source's distributions -> (title, drawing, note)."""
    measured = [
        ("picture sizes", row.megapixels, "megapixels", "{:.2g}"),
        ("aspect ratios", row.aspects, "width / height", "{:.2g}"),
        ("turns of a record", row.turns, "turns", "{:,.0f}"),
        ("length of a record", row.chars, "characters", "{:,.0f}"),
    ]
    return [
        _counted(f"{row.name}: {title}", values, unit, form) for title, values, unit, form in measured if len(values)
    ]


def _counted(title: str, values: np.ndarray, unit: str, form: str) -> tuple[str, Markup, str]:
    low, middle, high = (form.format(value) for value in (values.min(), np.median(values), values.max()))
    if values.min() == values.max():
        return title, Markup(""), f"{middle} {unit}, all of them"
    most = float(np.percentile(values, _OUTER))
    begin = min(0.0, float(values.min()))
    counts, edges = np.histogram(values, bins=_BINS, range=(begin, most if most > begin else begin + 1))
    note = f"{low} to {high} {unit}, median {middle}" + (
        f"; {100 - _OUTER:g} % are longer than is drawn" if values.max() > edges[-1] else ""
    )
    return title, Markup(draw_counts(f"{title}: {note}", edges.tolist(), counts.tolist(), unit)), note


def _shares(row: MixedRow) -> str:
    told = ", ".join(f"{name} {total:.1f} %" for name, total in zip(row.names, row.totals, strict=True))
    return draw_shares(
        f"{row.stage}: tokens by component over its steps; in all {told}", row.edges, row.shares, row.names
    )
