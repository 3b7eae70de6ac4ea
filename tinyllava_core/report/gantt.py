"""Draw when each stage of a run was at work, as inline SVG: one line a stage, in the order they began."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from html import escape

from tinyllava_core.report.facts import RunFacts, StageRow
from tinyllava_core.report.figures import ticks
from tinyllava_core.report.graph import cut
from tinyllava_core.report.html import seconds

WIDTH, LEFT, RIGHT, LINE, TOP, BOTTOM = 960, 190, 70, 22, 24, 34  # pixels
LETTERS = 28  # of a stage's name, which stand left of the bars
_UNITS = (("s", 1.0), ("min", 60.0), ("h", 3600.0), ("d", 86400.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One stage's time in the run."""

    row: StageRow
    begin: float  # seconds since the run's first stage began
    seconds: float  # that the run spent on it; next to nothing where it was there already


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """What a run spent its time on."""

    bars: tuple[Bar, ...]

    @property
    def total(self) -> float:
        """Give the seconds from the first stage's begin to the last one's end."""
        return max((bar.begin + bar.seconds for bar in self.bars), default=0.0)

    @property
    def worked(self) -> float:
        """Add up the seconds of the stages that were made here; stages side by side count each."""
        return sum(bar.seconds for bar in self.bars if bar.row.made)

    @property
    def idle(self) -> float:
        """Give the seconds in which no stage was at work: between them, where processes start and rows are written."""
        until = busy = 0.0
        for bar in self.bars:  # in the order they began
            end = bar.begin + bar.seconds
            busy += max(0.0, end - max(until, bar.begin))
            until = max(until, end)
        return self.total - busy

    @property
    def saved(self) -> float:
        """Add up the seconds that the making of what was found had once taken."""
        return sum(bar.row.seconds for bar in self.bars if not bar.row.made)

    @property
    def num_cached(self) -> int:
        """Count the stages that were found."""
        return sum(not bar.row.made for bar in self.bars)


def timeline(facts: RunFacts, rows: Sequence[StageRow]) -> Timeline:
    """Lay the stages out in time; those whose time nobody wrote down are left out."""
    known = [(facts.times[row.stage, row.name], row) for row in rows if (row.stage, row.name) in facts.times]
    first = min((began for (began, _), _ in known), default=None)
    bars = [
        Bar(row=row, begin=(began - first) / timedelta(seconds=1), seconds=spent)
        for (began, spent), row in known
        if first is not None
    ]
    return Timeline(bars=tuple(sorted(bars, key=lambda bar: bar.begin)))


def draw_gantt(found: Timeline) -> str:
    """Draw the bars: filled where a stage was made, a ring where it was there. No stage: ""."""
    if not found.bars:
        return ""
    unit, size = next((one for one in reversed(_UNITS) if found.total >= 3 * one[1]), _UNITS[0])
    marks = ticks(0, max(found.total / size, 0.1), 6)
    height = TOP + LINE * len(found.bars) + BOTTOM
    floor = height - BOTTOM
    axes = (TOP - 8, floor + 16)

    def x(moment: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * moment / size / marks[-1]

    label = f"When each stage was at work; {seconds(found.total)} in all, {found.num_cached} of {len(found.bars)} stages cached"
    parts = [f'<svg class="gantt" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">']
    for mark in marks:
        at = x(mark * size)
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{floor}"/>')
        parts += [f'<text class="tick" x="{at:.1f}" y="{y}" text-anchor="middle">{mark:g}</text>' for y in axes]
    parts += [f'<text class="tick" x="{WIDTH - RIGHT + 14}" y="{y}">{unit}</text>' for y in axes]
    for place, bar in enumerate(found.bars):
        parts += _bar(bar, x(bar.begin), x(bar.begin + bar.seconds), TOP + LINE * (place + 0.5))
    return "".join(parts) + "</svg>"


def _bar(bar: Bar, begin: float, end: float, y: float) -> list[str]:
    row = bar.row
    told = f"made in {seconds(bar.seconds)}" if row.made else f"cached; its making took {seconds(row.seconds)}"
    parts = [f"<g><title>{escape(f'{row.label}: {told}')}</title>"]
    parts.append(
        f'<text class="stage-name" x="{LEFT - 12}" y="{y + 4:.1f}" text-anchor="end">{escape(cut(row.label, LETTERS))}</text>'
    )
    if row.made:
        parts.append(
            f'<rect class="bar" x="{begin:.1f}" y="{y - 7:.1f}" width="{max(2.0, end - begin):.1f}" height="14" rx="2"/>'
        )
        parts.append(
            f'<text class="tick" x="{max(begin + 2, end) + 6:.1f}" y="{y + 4:.1f}">{seconds(bar.seconds)}</text>'
        )
    else:
        parts.append(f'<circle class="found" cx="{begin + 4:.1f}" cy="{y:.1f}" r="4"/>')
        parts.append(f'<text class="tick" x="{begin + 14:.1f}" y="{y + 4:.1f}">cached</text>')
    return [*parts, "</g>"]
