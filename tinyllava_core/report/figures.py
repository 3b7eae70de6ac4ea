"""Draw a loss curve as inline SVG, which takes its colours from the page's style sheet. No numbers are made up here.

The classes (`axis`, `tick`, `raw`, `smooth`, ...) are styled in page.html, so that dark pages get dark figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tinyllava_core.report.facts import Curve

WIDTH, HEIGHT = 460, 250
LEFT, RIGHT, TOP, BOTTOM = 42, 46, 14, 38  # margins; the last value is written into the right one
MAX_POINTS = 500  # of a drawn line


def draw_curve(curve: Curve) -> str:
    """Draw the loss of one stage: each step faintly, their running mean on top, a mark where a killed run went on."""
    if not curve.steps:
        return ""
    smooth = running_mean(curve.losses, window=max(1, len(curve.losses) // 25))
    x_ticks = ticks(0, max(curve.steps[-1], 1), 5, whole=True)
    y_ticks = ticks(min(0.0, *curve.losses), max(curve.losses), 5)
    x_last, y_first, y_last = max(curve.steps[-1], 1), y_ticks[0], y_ticks[-1]

    def x(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * step / x_last

    def y(loss: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (loss - y_first) / (y_last - y_first)

    label = (
        f"Loss of {curve.stage}: {smooth[0]:.2f} at step {curve.steps[0]}, {smooth[-1]:.2f} at step {curve.steps[-1]}"
    )
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">']
    for value in y_ticks:
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        parts.append(
            f'<text class="tick" x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{short(value)}</text>'
        )
    for value in (tick for tick in x_ticks if tick <= x_last):
        parts.append(
            f'<line class="axis" x1="{x(value):.1f}" x2="{x(value):.1f}" y1="{y(y_first):.1f}" y2="{y(y_first) + 4:.1f}"/>'
        )
        parts.append(
            f'<text class="tick" x="{x(value):.1f}" y="{HEIGHT - BOTTOM + 17}" text-anchor="middle">{short(value)}</text>'
        )
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(y_first):.1f}" y2="{y(y_first):.1f}"/>')
    parts.append(
        f'<text class="name" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">step</text>'
    )
    for step in curve.resumed_at:
        parts.append(f'<line class="resumed" x1="{x(step):.1f}" x2="{x(step):.1f}" y1="{TOP}" y2="{y(y_first):.1f}"/>')
        parts.append(f'<text class="tick" x="{x(step) + 4:.1f}" y="{TOP + 10}">went on here</text>')
    for name, losses in (("raw", curve.losses), ("smooth", smooth)):
        points = " ".join(f"{x(step):.1f},{y(loss):.1f}" for step, loss in thinned(curve.steps, losses))
        parts.append(f'<polyline class="{name}" points="{points}"/>')
    end_x, end_y = x(curve.steps[-1]), y(smooth[-1])
    parts.append(f'<circle class="end" cx="{end_x:.1f}" cy="{end_y:.1f}" r="3"/>')
    parts.append(f'<text class="value" x="{end_x + 7:.1f}" y="{end_y + 4:.1f}">{smooth[-1]:.2f}</text>')
    return "".join(parts) + "</svg>"


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
    """Write a tick's number."""
    return f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:g}"
