"""Draw curves and counts as inline SVG, which takes its colours from the pages' style sheet. No numbers are made up here.

The classes (`axis`, `tick`, `raw`, `smooth`, `s0` ... `s7`) are styled in style.css, so that dark pages get dark figures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from tinyllava_core.report.facts import Curve

WIDTH, HEIGHT = 460, 250
LEFT, RIGHT, TOP, BOTTOM = 54, 56, 14, 38  # margins; the last value is written into the right one
STYLE = (  # of a figure that stands alone; page.html has its own, for light and dark
    ".paper{fill:#fff} text{fill:#63666b;font:12px system-ui,sans-serif} .value{fill:#1c1d1f;font-weight:600} "
    ".grid{stroke:#e3e3df} .axis{stroke:#63666b} .raw,.smooth{fill:none;stroke:#1f5fae} .raw{opacity:.32} "
    ".smooth{stroke-width:2} .end{fill:#1f5fae} .resumed{stroke:#b0601a;stroke-dasharray:3 3}"
)
MAX_POINTS = 500  # of a drawn line
COLOURS = 8  # s0 ... s7 of style.css


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line of a chart: a value at each of its steps."""

    name: str
    steps: Sequence[int]
    values: Sequence[float]
    is_exact: bool = False  # set, not measured: nothing to smooth

    @property
    def smooth(self) -> list[float]:
        """Give the running mean over a twenty-fifth of the values."""
        if self.is_exact:
            return list(self.values)
        return running_mean(self.values, window=max(1, len(self.values) // 25))

    @property
    def last(self) -> float:
        """Give the last smoothed value."""
        return self.smooth[-1]


def draw_curve(curve: Curve) -> str:
    """Draw the loss of one stage: each step faintly, their running mean on top, a mark where a killed run went on."""
    if not curve.steps:
        return ""
    loss = Series(name="", steps=curve.steps, values=curve.losses)
    first, last = loss.smooth[0], loss.last
    label = f"Loss of {curve.stage}: {first:.2f} at step {curve.steps[0]}, {last:.2f} at step {curve.steps[-1]}"
    return draw_lines(label, [loss], resumed_at=curve.resumed_at)


def draw_lines(label: str, lines: Sequence[Series], resumed_at: Iterable[int] = (), high: float | None = None) -> str:
    """Draw lines over steps on one pair of axes from zero, each faintly and its running mean on top; one alone with its last value.

    `high`: what the upright axis reaches at least. Only COLOURS lines can be told apart; with nothing to draw: "".
    """
    lines = [line for line in lines if line.steps]
    if not lines:
        return ""
    values = [value for line in lines for value in line.values]
    last_step = max(1, *(line.steps[-1] for line in lines))
    x_ticks = ticks(0, last_step, 5, whole=True)
    y_ticks = ticks(min(0.0, *values), max(*values, high or 0.0), 5)
    frame = Frame(x_last=last_step, y_first=y_ticks[0], y_last=y_ticks[-1])
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">', *frame.grid(y_ticks)]
    parts += [part for tick in x_ticks if tick <= last_step for part in frame.mark(tick, short(tick))]
    parts.append(frame.floor("step"))
    for step in resumed_at:
        x = frame.x(step)
        parts.append(f'<line class="resumed" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{frame.y(frame.y_first):.1f}"/>')
        parts.append(f'<text class="tick" x="{x + 4:.1f}" y="{TOP + 10}">went on here</text>')
    for number, line in enumerate(lines):
        colour = f" s{number % COLOURS}" if len(lines) > 1 else ""
        for name, found in (("raw", line.values), ("smooth", line.smooth)):
            points = " ".join(f"{frame.x(step):.1f},{frame.y(value):.1f}" for step, value in thinned(line.steps, found))
            parts.append(
                f'<polyline class="{name}{colour}" points="{points}"><title>{escape(line.name)}</title></polyline>'
            )
        end_x, end_y = frame.x(line.steps[-1]), frame.y(line.last)
        parts.append(f'<circle class="end{colour}" cx="{end_x:.1f}" cy="{end_y:.1f}" r="3"/>')
        if len(lines) == 1 and not line.is_exact:
            parts.append(f'<text class="value" x="{end_x + 7:.1f}" y="{end_y + 4:.1f}">{rounded(line.last)}</text>')
    return "".join(parts) + "</svg>"


def draw_counts(label: str, edges: Sequence[float], counts: Sequence[int], unit: str) -> str:
    """Draw a histogram: `counts[n]` between edges n and n + 1, in the axis's `unit`. Nothing counted: ""."""
    if not any(counts):
        return ""
    y_ticks = ticks(0, max(counts), 4, whole=True)
    frame = Frame(x_last=edges[-1], x_first=edges[0], y_first=0, y_last=y_ticks[-1])
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">', *frame.grid(y_ticks)]
    for count, (low, high) in zip(counts, pairwise(edges), strict=True):
        x, y, gap = frame.x(low), frame.y(count), 1 if len(counts) < 60 else 0
        title = f"<title>{low:g} to {high:g}: {count:,}</title>"
        size = f'width="{max(0.5, frame.x(high) - x - gap):.1f}" height="{frame.y(0) - y:.1f}"'
        parts.append(f'<rect class="bar" x="{x:.1f}" y="{y:.1f}" {size}>{title}</rect>')
    marks = [
        tick for tick in ticks(edges[0], edges[-1], 5, whole=edges[-1] - edges[0] >= 5) if edges[0] <= tick <= edges[-1]
    ]
    parts += [part for tick in marks for part in frame.mark(tick, short(tick))]
    return "".join([*parts, frame.floor(unit)]) + "</svg>"


def draw_shares(label: str, edges: Sequence[float], shares: Sequence[Sequence[float]], names: Sequence[str]) -> str:
    """Draw what each name's part of the whole is, from edge to edge, one on the other: `shares[name][n]` in percent between
    edges n and n + 1. The first name lies at the bottom."""
    frame = Frame(x_last=edges[-1], y_first=0, y_last=100)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">',
        *frame.grid(range(0, 101, 25)),
    ]
    below = [0.0] * (len(edges) - 1)
    for number, (name, mine) in enumerate(zip(names, shares, strict=True)):
        for place, (low, high) in enumerate(pairwise(edges)):
            top = below[place] + mine[place]
            x, y = frame.x(low), frame.y(top)
            size = f'width="{frame.x(high) - x + 0.2:.1f}" height="{frame.y(below[place]) - y:.1f}"'
            title = f"<title>{escape(name)}: {mine[place]:.1f} %, steps {low:g} to {high:g}</title>"
            parts.append(f'<rect class="bar whole s{number % COLOURS}" x="{x:.1f}" y="{y:.1f}" {size}>{title}</rect>')
            below[place] = top
    marks = [tick for tick in ticks(0, edges[-1], 5, whole=True) if tick <= edges[-1]]
    parts += [part for tick in marks for part in frame.mark(tick, short(tick))]
    return "".join([*parts, frame.floor("step")]) + "</svg>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Two axes: from numbers to places in the drawing."""

    x_last: float
    x_first: float = 0.0
    y_first: float
    y_last: float

    def x(self, value: float) -> float:
        """Give the place of a value on the level axis."""
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - self.x_first) / (self.x_last - self.x_first)

    def y(self, value: float) -> float:
        """Give the place of a value on the upright axis."""
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - self.y_first) / (self.y_last - self.y_first)

    def grid(self, y_ticks: Iterable[float]) -> Iterable[str]:
        """Draw a level line, with its number, at each tick."""
        for value in y_ticks:
            y = self.y(value)
            yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            yield f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{short(value)}</text>'

    def mark(self, value: float, word: str) -> Iterable[str]:
        """Draw one tick of the level axis."""
        x, y = self.x(value), HEIGHT - BOTTOM
        yield f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{y}" y2="{y + 4}"/>'
        yield f'<text class="tick" x="{x:.1f}" y="{y + 17}" text-anchor="middle">{word}</text>'

    def floor(self, name: str) -> str:
        """Draw the level axis and what it counts."""
        y = HEIGHT - BOTTOM
        return (
            f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
            f'<text class="name" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{escape(name)}</text>'
        )


def alone(svg: str) -> str:
    """Make a figure a picture of its own, outside the page whose style sheet colours it: dark on white."""
    svg = (
        svg
        or f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="No step yet"><text x="{LEFT}" y="{HEIGHT // 2}">no step yet</text></svg>'
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * WIDTH}" height="{2 * HEIGHT}" '
    return svg.replace("<svg ", head, 1).replace(
        ">", f'><style>{STYLE}</style><rect class="paper" width="100%" height="100%"/>', 1
    )


def running_mean(values: Sequence[float], window: int) -> list[float]:
    """Give each value's mean with its neighbours, `window` of them, fewer at the ends."""
    before, after = window // 2, window - window // 2
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    cuts = [(max(0, place - before), min(len(values), place + after)) for place in range(len(values))]
    return [(sums[last] - sums[first]) / (last - first) for first, last in cuts]


def ticks(low: float, high: float, count: int, *, whole: bool = False) -> list[float]:
    """Choose round numbers (1, 2, 2.5 or 5 times a power of ten), about `count`, that enclose `low` and `high`.

    `whole`: integers, for what is counted.
    """
    if high <= low:
        high = low + 1
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    steps = [factor * power for factor in (1, 2, 2.5, 5, 10)]
    step = next(step for step in steps if step >= rough * 0.999 and (not whole or step.is_integer()))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def thinned(steps: Sequence[int], losses: Sequence[float]) -> list[tuple[int, float]]:
    """Keep at most MAX_POINTS points, evenly, the last one always."""
    stride = max(1, math.ceil(len(steps) / MAX_POINTS))
    kept = list(range(0, len(steps), stride))
    if kept[-1] != len(steps) - 1:
        kept.append(len(steps) - 1)
    return [(steps[place], losses[place]) for place in kept]


def short(value: float) -> str:
    """Write a tick's number: 20k, 0.25, 1.5e-4."""
    if 0 < abs(value) < 0.001:
        digits, _, power = f"{value:e}".partition("e")
        return f"{float(digits):g}e{int(power)}"
    return f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:g}"


def rounded(value: float) -> str:
    """Write a value with three figures or so."""
    size = abs(value)
    if size >= 10_000:
        return f"{value / 1000:,.1f}k"
    if size >= 100:
        return f"{value:,.0f}"
    if size >= 0.1 or value == 0:
        return f"{value:.2f}"
    return f"{value:.1e}" if size < 0.001 else f"{value:.4f}"
