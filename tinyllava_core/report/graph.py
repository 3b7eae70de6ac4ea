"""Draw the stages of a run as a graph, left to right, as inline SVG. It knows of layout, and nothing of training.

A stage stands as far right as what needs it allows, so that data that is needed late stands late.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from tinyllava_core.report.facts import StageRow
from tinyllava_core.report.html import seconds
from tinyllava_core.results import RESULTS, TrainResult

NODE_WIDTH, NODE_HEIGHT = 116, 40
GAP_X, GAP_Y = 20, 12
_SWEEPS = 6


def draw_graph(stages: Sequence[StageRow]) -> str:
    """Draw one box per stage (filled: made in this run; outlined: it was there) and a line per input
    that does not come by way of another one anyway."""
    if not stages:
        return ""
    nodes = {row.fingerprint: row for row in stages}
    edges = reduced([(of, row.fingerprint) for row in nodes.values() for of in row.inputs if of in nodes])
    columns = arrange(layers(in_branches(list(nodes), edges), edges), edges)
    height = max(len(column) for column in columns) * (NODE_HEIGHT + GAP_Y) - GAP_Y
    width = len(columns) * (NODE_WIDTH + GAP_X) - GAP_X
    place: dict[str, tuple[float, float]] = {}
    for number, column in enumerate(columns):
        top = (height - len(column) * (NODE_HEIGHT + GAP_Y) + GAP_Y) / 2
        for row, key in enumerate(column):
            place[key] = (number * (NODE_WIDTH + GAP_X) + 1, top + row * (NODE_HEIGHT + GAP_Y) + 1)
    lines = [_edge(place[of], place[to]) for of, to in edges]
    boxes = [_node(row, *place[key]) for key, row in nodes.items()]
    size = f'viewBox="0 0 {width + 2} {height + 2}" width="{width + 2}" height="{height + 2}"'
    return (
        f'<svg {size} role="img" aria-label="Stages of the run and what went into them">{"".join(lines + boxes)}</svg>'
    )


def layers(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Put each node one column left of the leftmost node that needs it; what nobody needs, in the last column."""
    needed_by: dict[str, list[str]] = {node: [to for of, to in edges if of == node] for node in nodes}
    from_end: dict[str, int] = {}

    def depth(node: str) -> int:
        if node not in from_end:
            from_end[node] = 1 + max((depth(to) for to in needed_by[node]), default=-1)
        return from_end[node]

    last = max(depth(node) for node in nodes)
    return [[node for node in nodes if from_end[node] == last - column] for column in range(last + 1)]


def in_branches(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> list[str]:
    """Order nodes such that everything that leads to one of them stands together: a tree is then drawn without crossings."""
    inputs: dict[str, list[str]] = {node: [of for of, to in edges if to == node] for node in nodes}
    needed = {of for of, _ in edges}
    order: dict[str, None] = {}

    def visit(node: str) -> None:
        if node not in order:
            for of in inputs[node]:
                visit(of)
            order[node] = None

    for node in nodes:
        if node not in needed:
            visit(node)
    return list(order)


def arrange(columns: Sequence[Sequence[str]], edges: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Order each column by where its neighbours stand, back and forth; of the orders met, give the one with fewest crossings."""
    near: dict[str, list[str]] = {node: [] for column in columns for node in column}
    for of, to in edges:
        near[of].append(to)
        near[to].append(of)
    current = [list(column) for column in columns]
    best = [list(column) for column in columns]
    for sweep in range(_SWEEPS):
        for column in current if sweep % 2 else reversed(current):
            height = {node: place - len(other) / 2 for other in current for place, node in enumerate(other)}
            mean = {
                node: sum(height[other] for other in near[node]) / len(near[node]) if near[node] else height[node]
                for node in column
            }
            column.sort(key=mean.__getitem__)
        _swap(current, edges)
        if crossings(current, edges) < crossings(best, edges):
            best = [list(column) for column in current]
    return best


def _swap(columns: list[list[str]], edges: Sequence[tuple[str, str]]) -> None:
    """Exchange neighbours in a column wherever that takes crossings away."""
    for column in columns:
        for place in range(len(column) - 1):
            before = crossings(columns, edges)
            column[place : place + 2] = reversed(column[place : place + 2])
            if crossings(columns, edges) >= before:
                column[place : place + 2] = reversed(column[place : place + 2])


def crossings(columns: Sequence[Sequence[str]], edges: Sequence[tuple[str, str]]) -> int:
    """Count the pairs of lines between the same two columns that cross."""
    at = {node: (number, place) for number, column in enumerate(columns) for place, node in enumerate(column)}
    ends = [(at[of], at[to]) for of, to in edges]
    return sum(
        (a[1] - c[1]) * (b[1] - d[1]) < 0
        for number, (a, b) in enumerate(ends)
        for c, d in ends[:number]
        if a[0] == c[0] and b[0] == d[0]
    )


def reduced(edges: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Leave out each edge whose ends a longer way connects too."""
    after: dict[str, list[str]] = {}
    for of, to in edges:
        after.setdefault(of, []).append(to)

    def reaches(node: str, goal: str) -> bool:
        return node == goal or any(reaches(step, goal) for step in after.get(node, []))

    return [(of, to) for of, to in edges if not any(step != to and reaches(step, to) for step in after[of])]


def _node(row: StageRow, x: float, y: float) -> str:
    what = (RESULTS.get(row.stage, TrainResult).__doc__ or "").partition(": ")[2]
    title = f"{row.label}: {what} {row.fingerprint}, {'made in' if row.made else 'cached; was made in'} {seconds(row.seconds)}"
    name = row.name if row.name and row.name != row.stage else ""
    upper, lower = y + (16 if name else 24), y + 31
    return (
        f'<g class="node {"made" if row.made else "cached"}"><title>{escape(title)}</title>'
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{NODE_WIDTH}" height="{NODE_HEIGHT}" rx="5"/>'
        f'<text class="stage" x="{x + 8:.1f}" y="{upper:.1f}">{escape(row.stage)}</text>'
        f'<text class="time" x="{x + NODE_WIDTH - 8:.1f}" y="{upper:.1f}" text-anchor="end">'
        f"{seconds(row.seconds) if row.made else '✓'}</text>"
        f'<text class="which" x="{x + 8:.1f}" y="{lower:.1f}">{escape(cut(name, 17))}</text></g>'
    )


def _edge(of: tuple[float, float], to: tuple[float, float]) -> str:
    x1, y1 = of[0] + NODE_WIDTH, of[1] + NODE_HEIGHT / 2
    x2, y2 = to[0], to[1] + NODE_HEIGHT / 2
    bend = min((x2 - x1) / 2, GAP_X)
    return f'<path class="edge" d="M{x1:.1f} {y1:.1f}C{x1 + bend:.1f} {y1:.1f} {x2 - bend:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"/>'


def cut(text: str, length: int) -> str:
    """Write at most so many letters of a text."""
    return text if len(text) <= length else text[: length - 1] + "…"
