"""The page of a study: its table, its figures, its tests, in one HTML file in the house style. Figures are made in figures.py."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

from markupsafe import Markup

from tinyllava_core.evaluate.compare.compare import Difference
from tinyllava_core.evaluate.compare.published import Beside
from tinyllava_core.report.figures import COLOURS
from tinyllava_core.report.html import render
from tinyllava_core.study import ends, halving, pairs
from tinyllava_core.study.figures import axes, draw, draw_axis, draw_cost, is_shown
from tinyllava_core.study.grid import Study, way
from tinyllava_core.study.halving import Standing
from tinyllava_core.study.table import Finished, Row, benchmarks, cells, told
from tinyllava_core.study.where import Moved


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """What stands under the table of scores."""

    differences: Sequence[tuple[str, Difference]] = ()  # from the first variant, Holm over all
    published: Sequence[tuple[str, Beside]] = ()
    moved: Sequence[Moved] = ()  # in which questions the variants differ from the first
    halving: Sequence[Sequence[Standing]] = ()  # what became of the variants after each part of their steps


def write_page(
    study: Study,
    rows: Sequence[Row],
    failed: Sequence[str],
    out: Path,
    runs: Sequence[Finished] = (),
    tables: Tables | None = None,
    answers: Path | None = None,
) -> None:
    """Write `out`. `failed`: the runs that did not come to their end, each with why; `runs`: those that did, to link to.

    `answers`: the page of the variants' answers side by side, to link to.
    """
    tables = tables or Tables()
    links = [(f"{run.variant}, {way(run.seed, run.order)}", os.path.relpath(run.report, out.parent), run.checkpoint) for run in runs if run.report]  # fmt: skip
    head, *body = cells(rows, cut := halving.cut_in(tables.halving))
    reports = {run.variant: os.path.relpath(run.report, out.parent) for run in reversed(runs) if run.report}
    browser = os.path.relpath(answers, out.parent) if answers else None
    html = render(
        Path(__file__).with_name("page.html"),
        study=study,
        head=head,
        body=body,
        pages=[reports.get(row.variant, "") for row in rows] + ["" for _ in cut],
        halving=(halving.told(tables.halving), halving.HEAD, halving.lines(tables.halving)),
        figures=[(name, Markup(draw(rows, name))) for name in benchmarks(rows)],
        over=list(_over(study, rows)),
        costs=[(name, Markup(draw_cost(rows, name))) for name in benchmarks(rows)] if len(rows) > 1 else [],
        colours=COLOURS,
        told=" ".join(filter(None, (told(runs), ends.told(runs)))),
        failed=failed,
        links=links,
        answers=browser,
        pairs=(pairs.HEAD, pairs.pair_rows(tables.differences), [_beside(browser, one) for one in tables.differences]),
        published=(pairs.PUBLISHED_HEAD, pairs.published_cells(tables.published)),
        moved=[(one, partial(_filtered, browser, one)) for one in tables.moved],
        caution=pairs.CHECKPOINTS if len(study.seeds) * len(study.orders) == 1 else "",
    )
    out.write_text(html, encoding="utf-8")


def _over(study: Study, rows: Sequence[Row]) -> Iterator[tuple[str, list[tuple[str, Markup, list[str]]]]]:
    """Give each axis worth a figure -> its key, and for each benchmark its name, the figure, the names of its lines."""
    for axis in axes(study):
        names = [name for name in benchmarks(rows) if sum(name in row.cells and row.variant in axis.values for row in rows) > 1]  # fmt: skip
        if is_shown(axis) and names:
            drawn = [(name, *draw_axis(axis, rows, name)) for name in names]
            yield axis.key, [(name, Markup(svg), lines) for name, svg, lines in drawn]


def _filtered(browser: str | None, one: Moved, only: str, kind: str = "") -> str:
    """Give the address of some of the answers in which a variant differs from the first; "" where there are none."""
    asked = {"b": one.benchmark, "only": only, "with": one.variant, **({"kind": kind} if kind else {})}
    return f"{browser}#{urlencode(asked)}" if browser else ""


def _beside(browser: str | None, pair: tuple[str, Difference]) -> str:
    """Give the address of the answers in which a variant differs from the first; "" where there are none."""
    variant, one = pair
    asked = {"b": one.benchmark.split()[0], "only": "other", "with": variant}
    return f"{browser}#{urlencode(asked)}" if browser else ""
