"""A study's figures: each variant's scores, a score over what was varied, and over what it cost. As SVG; no numbers are made up here."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from tinyllava_core.report.figures import COLOURS, HEIGHT, Frame, short, ticks
from tinyllava_core.report.figures import WIDTH as FRAME_WIDTH
from tinyllava_core.study.grid import Study
from tinyllava_core.study.table import Cell, Row

WIDTH, LEFT, RIGHT, TOP, LINE, BOTTOM = 560, 190, 64, 10, 30, 38  # pixels of the figure of variants
LOG_FROM = 4  # an axis whose greatest value is so many times its least is drawn by powers


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One thing that a study varies."""

    key: str  # as in a recipe: sft.lr
    values: dict[str, int | float | str]  # by variant; those that do not set it are not on it
    others: dict[str, str]  # by variant: all else that is set on it, for those that differ in this alone
    names: dict[str, str]  # by variant: what it is on the other axes, in words

    @property
    def is_number(self) -> bool:
        """Tell whether its values lie on a scale."""
        return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in self.values.values())


def axes(study: Study) -> list[Axis]:
    """List what a study varies: each dotted key of its variants that takes several plain values."""
    variants = study.all_variants()
    keys = dict.fromkeys(key for one in variants for key in one.set)
    by_key = {key: {one.name: one.set[key] for one in variants if isinstance(one.set.get(key), (int, float, str))} for key in keys}  # fmt: skip
    varied = {key: values for key, values in by_key.items() if len(set(map(repr, values.values()))) > 1}
    found = []
    for key, values in varied.items():
        rest = {one.name: {other: value for other, value in one.set.items() if other != key} for one in variants}
        told = {
            name: ", ".join(f"{other.rpartition('.')[2]} {value}" for other, value in rest[name].items() if other in varied)
            for name in values
        }  # fmt: skip
        others = {one.name: json.dumps([one.recipe, rest[one.name]], sort_keys=True, default=str) for one in variants}
        found.append(Axis(key=key, values=values, others=others, names=told))
    return found


def is_shown(axis: Axis) -> bool:
    """Tell whether a figure over an axis shows more than one variant by variant: a scale, or variants that differ in it alone."""
    groups = [axis.others[name] for name in axis.values]
    return axis.is_number or (len(set(groups)) > 1 and len(set(groups)) < len(groups))


def draw(rows: Sequence[Row], benchmark: str) -> str:
    """Draw each variant's score on one benchmark as a point with its standard error, the blind one as a ring -> SVG."""
    shown = [(row.variant, row.cells[benchmark]) for row in rows if benchmark in row.cells]
    marks = _marks([cell for _, cell in shown])
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


def draw_axis(axis: Axis, rows: Sequence[Row], benchmark: str) -> tuple[str, list[str]]:
    """Draw one benchmark's scores over an axis, a line through the variants that differ in it alone -> SVG, name of each line."""
    shown = [row for row in rows if benchmark in row.cells and row.variant in axis.values]
    values = list(dict.fromkeys(axis.values[row.variant] for row in shown))
    if axis.is_number:
        values.sort()
    places = _places(values, is_number=axis.is_number)
    y_marks = _marks([row.cells[benchmark] for row in shown])
    frame = _frame(list(places.values()), y_marks)
    lines: dict[str, list[Row]] = {}
    for row in shown:
        lines.setdefault(axis.others[row.variant], []).append(row)
    names = [axis.names[line[0].variant] for line in lines.values()]
    said = "; ".join(f"{row.variant} {row.cells[benchmark].score:.1f}" for row in shown)
    parts = [_open(f"{benchmark} over {axis.key}: {said}"), *frame.grid(y_marks)]
    for value in values:
        parts += frame.mark(places[value], escape(f"{value:g}" if isinstance(value, (int, float)) else value))
    parts.append(frame.floor(axis.key))
    for number, line in enumerate(lines.values()):
        points = sorted(((places[axis.values[row.variant]], row) for row in line), key=lambda point: point[0])
        path = " ".join(f"{frame.x(place):.1f},{frame.y(row.cells[benchmark].score):.1f}" for place, row in points)
        parts.append(f'<polyline class="smooth s{number % COLOURS}" points="{path}"/>')
        parts += [_point(frame, place, row, benchmark, number) for place, row in points]
    return "".join(parts) + "</svg>", names if len(names) > 1 else []


def draw_cost(rows: Sequence[Row], benchmark: str) -> str:
    """Draw one benchmark's scores over the seconds of training, each point with its variant's number in the table -> SVG."""
    shown = [(number, row) for number, row in enumerate(rows) if benchmark in row.cells]
    x_marks = ticks(0, max(row.train_seconds for _, row in shown), 5)
    y_marks = _marks([row.cells[benchmark] for _, row in shown])
    frame = Frame(x_last=x_marks[-1], y_first=y_marks[0], y_last=y_marks[-1])
    said = "; ".join(f"{row.variant} {row.cells[benchmark].score:.1f} in {row.train_seconds:.0f} s" for _, row in shown)
    parts = [_open(f"{benchmark} over seconds of training: {said}"), *frame.grid(y_marks)]
    parts += [part for mark in x_marks for part in frame.mark(mark, short(mark))]
    parts.append(frame.floor("seconds of training"))
    for number, row in shown:
        x, y = frame.x(row.train_seconds), frame.y(row.cells[benchmark].score)
        parts.append(_point(frame, row.train_seconds, row, benchmark, 0))
        parts.append(f'<text class="value" x="{x + 8:.1f}" y="{y - 6:.1f}">{number + 1}</text>')
    return "".join(parts) + "</svg>"


def _places(values: Sequence[int | float | str], *, is_number: bool) -> dict[int | float | str, float]:
    """Give each value's place: on a scale, by powers where it is wide, else one beside the other."""
    if not is_number:
        return {value: float(place) for place, value in enumerate(values)}
    numbers = {value: float(value) for value in values}
    if min(numbers.values()) > 0 and max(numbers.values()) >= LOG_FROM * min(numbers.values()):
        return {value: math.log(number) for value, number in numbers.items()}
    return numbers


def _frame(places: Sequence[float], y_marks: Sequence[float]) -> Frame:
    room = 0.08 * (max(places) - min(places)) or 1.0
    return Frame(x_first=min(places) - room, x_last=max(places) + room, y_first=y_marks[0], y_last=y_marks[-1])


def _point(frame: Frame, place: float, row: Row, benchmark: str, number: int) -> str:
    cell = row.cells[benchmark]
    x, colour = frame.x(place), f"s{number % COLOURS}"
    low, high = max(frame.y_first, cell.score - cell.error), min(frame.y_last, cell.score + cell.error)
    title = f"<title>{escape(row.variant)}: {cell.score:.1f} ± {cell.error:.1f}</title>"
    return (
        f'<line class="smooth {colour}" x1="{x:.1f}" x2="{x:.1f}" y1="{frame.y(low):.1f}" y2="{frame.y(high):.1f}"/>'
        f'<circle class="end {colour}" cx="{x:.1f}" cy="{frame.y(cell.score):.1f}" r="4">{title}</circle>'
    )


def _marks(cells: Sequence[Cell]) -> list[float]:
    """Choose the ticks of the scores' axis: round percents around all of them, blind ones and errors too."""
    lows = [min(cell.score - cell.error, cell.score if cell.blind is None else cell.blind) for cell in cells]
    return ticks(max(0.0, min(lows)), min(100.0, max(cell.score + cell.error for cell in cells)), 5)


def _open(label: str) -> str:
    return f'<svg viewBox="0 0 {FRAME_WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">'
