"""Boxes in pictures: how they are written in replies, and how well two of them agree."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

Box = tuple[float, float, float, float]  # left, top, right, bottom

NOWHERE: Box = (0.0, 0.0, 0.0, 0.0)
_NUMBER = r"\s*(-?\d+(?:\.\d+)?)\s*"
_FRACTIONS = re.compile(rf"\[{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}\]".replace(r"\s*,", ","))
_GRID = re.compile(r"\((\d{1,4}),(\d{1,4})\),\((\d{1,4}),(\d{1,4})\)")
GRID = 1000.0
OVERLAP = 0.5  # of a word that counts as found
_UNREADABLE = "###"
_OUTER_MARKS = frozenset("!?.:,*\"()\u00b7[]/'")
_BRACKETS = re.compile(r"[\[(]\s*([^\[\]()]*?)\s*[\])]")
_QUOTED = re.compile(r'\s*"(.*)"\s*')
_WHOLE = re.compile(r"[+]?\d{1,6}")


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


def spotted(said: Sequence[tuple[Box, str]], gold: Sequence[tuple[Box, str]]) -> float:
    """Give the F1 of words that were found and read: overlap above one half, the same letters in either case.

    Each right word takes the first free reply that overlaps it; one mark before or behind it may be left out; `###` is a
    place that does not count, and replies mostly inside it do not either. Source: the Robust Reading Competition's
    `script.py` (end to end, IoU), as OCRBench v2 has it.
    """
    said = [one for one in said if one[0][0] < one[0][2] and one[0][1] < one[0][3]]
    cared = [one for one in gold if one[1] != _UNREADABLE]
    ignored = [box for box, text in gold if text == _UNREADABLE]
    free = [one for one in said if not any(inside(one[0], box) > OVERLAP for box in ignored)]
    num_said, num_right = len(free), 0
    for box, text in cared:
        place = next((at for at, one in enumerate(free) if overlap(one[0], box) > OVERLAP), None)
        if place is not None:
            num_right += free.pop(place)[1].upper() in _forms(text.upper())
    return 2 * num_right / (num_said + len(cared)) if num_right else 0.0


def inside(one: Box, other: Box) -> float:
    """Give the share of the one box's area that lies in the other."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    area = (one[2] - one[0]) * (one[3] - one[1])
    return max(0.0, width) * max(0.0, height) / area if area else 0.0


def _forms(text: str) -> set[str]:
    """List what counts as a word: itself, and without a mark at its beginning, its end, or both; quotes are no part of it."""
    quoted = _QUOTED.fullmatch(text)
    text = quoted.group(1) if quoted else text
    first, last = text[:1] in _OUTER_MARKS, text[-1:] in _OUTER_MARKS
    forms = {text} | ({text[1:]} if first else set()) | ({text[:-1]} if last else set())
    return forms | ({text[1:-1]} if first and last else set())


def boxed_texts(text: str) -> list[tuple[Box, str]]:
    """Read `[[x1, y1, x2, y2, text], ...]` of whole numbers up to 1,000, each once; written askew, what is in brackets."""
    try:
        whole = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        whole = [found.split(",", 4) for found in _BRACKETS.findall(text)]
    found: dict[tuple[Box, str], None] = {}
    for row in whole if isinstance(whole, list | tuple) else ():
        if not isinstance(row, list | tuple) or len(row) < 5:
            continue
        sides = [str(side).strip() for side in row[:4]]
        if all(_WHOLE.fullmatch(side) for side in sides) and max(map(int, sides)) <= GRID:
            left, top, right, bottom = map(float, sides)
            found[(left, top, right, bottom), str(row[4]).replace("\n", "").strip().strip('"').strip("'")] = None
    return list(found)
