"""The page of a study: its table, and a figure for each benchmark, in one HTML file that needs nothing else."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from markupsafe import Markup

from tinyllava_core.evaluate.compare.compare import Difference
from tinyllava_core.evaluate.compare.published import Beside
from tinyllava_core.report.figures import short, ticks
from tinyllava_core.report.html import render
from tinyllava_core.study import pairs
from tinyllava_core.study.grid import Study, way
from tinyllava_core.study.table import Finished, Row, benchmarks, cells, told

WIDTH, LEFT, RIGHT, TOP, LINE, BOTTOM = 560, 190, 64, 10, 30, 38  # pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """What stands under the table of scores."""

    differences: Sequence[tuple[str, Difference]] = ()  # from the first variant, Holm over all
    published: Sequence[tuple[str, Beside]] = ()


def write_page(
    study: Study,
    rows: Sequence[Row],
    failed: Sequence[str],
    out: Path,
    runs: Sequence[Finished] = (),
    tables: Tables | None = None,
) -> None:
    """Write `out`. `failed`: the runs that did not come to their end, each with why; `runs`: those that did, to link to."""
    tables = tables or Tables()
    links = [(f"{run.variant}, {way(run.seed, run.order)}", os.path.relpath(run.report, out.parent), run.checkpoint) for run in runs if run.report]  # fmt: skip
    head, *body = cells(rows)
    figures = [(name, Markup(draw(rows, name))) for name in benchmarks(rows)]
    html = render(
        Path(__file__).with_name("page.html"),
        study=study,
        head=head,
        body=body,
        figures=figures,
        told=told(runs),
        failed=failed,
        links=links,
        pairs=(pairs.HEAD, pairs.pair_rows(tables.differences)),
        published=(pairs.PUBLISHED_HEAD, pairs.published_cells(tables.published)),
        caution=pairs.CHECKPOINTS if len(study.seeds) * len(study.orders) == 1 else "",
    )
    out.write_text(html, encoding="utf-8")


def draw(rows: Sequence[Row], benchmark: str) -> str:
    """Draw each variant's score on one benchmark as a point with its standard error, the blind one as a ring -> SVG."""
    shown = [(row.variant, row.cells[benchmark]) for row in rows if benchmark in row.cells]
    lows = [min(cell.score - cell.error, cell.score if cell.blind is None else cell.blind) for _, cell in shown]
    marks = ticks(max(0.0, min(lows)), min(100.0, max(cell.score + cell.error for _, cell in shown)), 5)
    height = TOP + LINE * len(shown) + BOTTOM

    def x(score: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (score - marks[0]) / (marks[-1] - marks[0])

    said = "; ".join(f"{variant} {cell.score:.1f}" for variant, cell in shown)
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(f"{benchmark}: {said}")}">']
    floor = height - BOTTOM
    for mark in marks:
        parts.append(f'<line class="grid" x1="{x(mark):.1f}" x2="{x(mark):.1f}" y1="{TOP}" y2="{floor}"/>')
        parts.append(f'<text class="tick" x="{x(mark):.1f}" y="{floor + 15}" text-anchor="middle">{short(mark)}</text>')
    parts.append(
        f'<text class="tick" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{height - 4}" text-anchor="middle">percent</text>'
    )
    for place, (variant, cell) in enumerate(shown):
        y = TOP + LINE * (place + 0.5)
        parts.append(f'<text class="name" x="{LEFT - 12}" y="{y + 4:.1f}" text-anchor="end">{escape(variant)}</text>')
        if cell.blind is not None:
            parts.append(f'<circle class="blind" cx="{x(cell.blind):.1f}" cy="{y:.1f}" r="4"/>')
        low, high = x(max(marks[0], cell.score - cell.error)), x(min(marks[-1], cell.score + cell.error))
        parts.append(f'<line class="error" x1="{low:.1f}" x2="{high:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<circle class="seen" cx="{x(cell.score):.1f}" cy="{y:.1f}" r="5"/>')
        parts.append(f'<text class="value" x="{WIDTH - RIGHT + 14}" y="{y + 4:.1f}">{cell.score:.1f}</text>')
    return "".join(parts) + "</svg>"
