"""Boxes in pictures: how they are written in replies, and how well two of them agree."""

from __future__ import annotations

import re

Box = tuple[float, float, float, float]  # left, top, right, bottom

NOWHERE: Box = (0.0, 0.0, 0.0, 0.0)
_NUMBER = r"\s*(-?\d+(?:\.\d+)?)\s*"
_FRACTIONS = re.compile(rf"\[{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}\]".replace(r"\s*,", ","))
_GRID = re.compile(r"\((\d{1,4}),(\d{1,4})\),\((\d{1,4}),(\d{1,4})\)")
GRID = 1000.0


def fractions(text: str) -> Box:
    """Read the first `[a, b, c, d]`, as fractions of width and height; nowhere, if there is none. Source: lmms-eval."""
    found = _FRACTIONS.search(text)
    return _box(found, 1.0) if found else NOWHERE


def grid(text: str) -> Box:
    """Read the first `(x,y),(x,y)` on a grid of 1,000, as Qwen-VL writes it; nowhere, if there is none."""
    found = _GRID.search(text)
    return _box(found, GRID) if found else NOWHERE


def _box(found: re.Match[str], scale: float) -> Box:
    left, top, right, bottom = (float(text) / scale for text in found.groups())
    return left, top, right, bottom


def overlap(one: Box, other: Box) -> float:
    """Give the area that two boxes share over the area that they cover together; 0 where that is nothing."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    covered = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - shared
    return shared / covered if covered else 0.0


def holds_centre(one: Box, other: Box) -> bool:
    """Tell whether the middle of the other box lies in the one."""
    return one[0] <= (other[0] + other[2]) / 2 <= one[2] and one[1] <= (other[1] + other[3]) / 2 <= one[3]
