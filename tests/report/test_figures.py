"""The loss curve: its numbers, and that it is SVG."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from tinyllava_core.report.facts import Curve
from tinyllava_core.report.figures import MAX_POINTS, draw_curve, running_mean, short, thinned, ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 6.5, [0, 2, 4, 6, 8]),
        (0, 2.4, [0, 0.5, 1, 1.5, 2, 2.5]),
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (0, 0.012, [0, 0.0025, 0.005, 0.0075, 0.01, 0.0125]),
        (3, 3, [3, 3.2, 3.4, 3.6, 3.8, 4]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
    ],
)
def test_ticks_are_round_and_enclose_the_values(low: float, high: float, expected: list[float]):
    assert ticks(low, high, 5) == expected


def test_ticks_of_what_is_counted_are_whole():
    """2.5 would be the rounder step, and half a step does not exist."""
    assert ticks(0, 12, 5, whole=True) == [0, 5, 10, 15]
    assert ticks(0, 1, 5, whole=True) == [0, 1]


def test_the_running_mean_takes_fewer_values_at_the_ends():
    """Window 3: one before, the value, one after."""
    assert running_mean([3, 0, 6, 0], window=3) == [1.5, 3, 2, 3]
    assert running_mean([1, 2], window=1) == [1, 2]


def test_a_long_curve_keeps_its_last_point():
    steps = list(range(12_345))
    kept = thinned(steps, [float(step) for step in steps])
    assert len(kept) <= MAX_POINTS + 1
    assert kept[0] == (0, 0.0)
    assert kept[-1] == (12_344, 12_344.0)


def test_numbers_are_written_short():
    assert [short(value) for value in (0, 0.5, 250, 12_500)] == ["0", "0.5", "250", "12.5k"]


def test_a_curve_is_svg_with_both_lines_its_last_value_and_where_it_went_on():
    curve = Curve(stage="sft", steps=(0, 1, 2, 3), losses=(4.0, 3.0, 2.0, 1.0), resumed_at=(2,))
    drawn = ElementTree.fromstring(draw_curve(curve))
    lines = {line.get("class"): (line.get("points") or "").split() for line in drawn.iter("polyline")}
    assert {name: len(points) for name, points in lines.items()} == {"raw": 4, "smooth": 4}
    assert [float(point.split(",")[1]) for point in lines["raw"]] == sorted(
        float(p.split(",")[1]) for p in lines["raw"]
    )
    words = [text.text for text in drawn.iter("text")]
    assert "1.00" in words
    assert "went on here" in words
    assert drawn.get("aria-label") == "Loss of sft: 4.00 at step 0, 1.00 at step 3"


@pytest.mark.parametrize("losses", [(), (2.0,), (0.0, 0.0), (float("1e-9"), 3e4)])
def test_odd_curves_are_drawn_too(losses: tuple[float, ...]):
    drawn = draw_curve(Curve(stage="sft", steps=tuple(range(len(losses))), losses=losses, resumed_at=()))
    assert "nan" not in drawn
    assert bool(drawn) == bool(losses)
