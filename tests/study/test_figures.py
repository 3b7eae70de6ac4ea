"""A study's figures over what was varied and what it cost: places worked out by hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tinyllava_core.evaluate.compare.compare import Difference
from tinyllava_core.study.figures import Axis, axes, draw_axis, draw_cost, is_shown
from tinyllava_core.study.grid import Study
from tinyllava_core.study.page import Tables, write_page
from tinyllava_core.study.table import Cell, Row

RATES = [1e-5, 2e-5, 4e-5]


def study(**fields: object) -> Study:
    return Study.parse({"name": "mine", "recipe": "toy", **fields}, "test")


def row(variant: str, score: float, seconds: float = 60.0) -> Row:
    cell = Cell(score=score, error=1.0, blind=None)
    return Row(variant=variant, num_runs=1, cells={"pope": cell}, num_trained=1, train_seconds=seconds, last_loss=1.0)


@pytest.fixture
def rates() -> Study:
    return study(grid={"sft.lr": RATES, "sft.epochs": [1, 2]})


@pytest.fixture
def rows(rates: Study) -> list[Row]:
    return [row(one.name, 80.0 + place) for place, one in enumerate(rates.all_variants())]


def places(svg: str, colour: str) -> list[tuple[float, float]]:
    found = re.findall(rf'class="end {colour}" cx="([\d.]+)" cy="([\d.]+)"', svg)
    return [(float(x), float(y)) for x, y in found]


def test_the_axes_of_a_grid_are_its_keys_and_lines_join_what_differs_in_one_alone(rates: Study) -> None:
    rate, epochs = axes(rates)
    assert (rate.key, epochs.key) == ("sft.lr", "sft.epochs")
    assert rate.values == {f"lr {lr}, epochs {count}": lr for lr in RATES for count in (1, 2)}
    assert set(rate.names.values()) == {"epochs 1", "epochs 2"}
    assert len({rate.others[name] for name in rate.values}) == 2
    assert is_shown(rate)
    assert is_shown(epochs)


def test_words_are_worth_a_figure_only_where_something_else_varies_too() -> None:
    (alone,) = axes(study(grid={"model.connector": ["mlp", "resampler"]}))
    assert not is_shown(alone)
    first, second = axes(study(grid={"model.connector": ["mlp", "resampler"], "seed": [1, 2]}))
    assert is_shown(first)
    assert is_shown(second)


def test_variants_that_do_not_set_a_key_are_not_on_its_axis() -> None:
    variants = [
        {"name": "a", "set": {"sft.lr": 1e-3}},
        {"name": "b", "set": {"sft.lr": 2e-3}},
        {"name": "c", "set": {"sft.epochs": 2}},
    ]
    (rate,) = axes(study(variants=variants))
    assert rate.values == {"a": 1e-3, "b": 2e-3}


def test_a_wide_scale_is_drawn_by_powers(rates: Study, rows: list[Row]) -> None:
    """1, 2 and 4 lie at equal distances; two lines, one for each number of epochs."""
    svg, lines = draw_axis(axes(rates)[0], rows, "pope")
    assert lines == ["epochs 1", "epochs 2"]
    for colour in ("s0", "s1"):
        (left, _), (middle, _), (right, _) = places(svg, colour)
        assert middle - left == pytest.approx(right - middle, abs=0.2)
    assert list(re.findall(r'text-anchor="middle">([^<]+)</text>', svg)) == [
        "1e-05",
        "2e-05",
        "4e-05",
        "sft.lr",
    ]


def test_a_narrow_scale_is_drawn_as_it_is() -> None:
    axis = Axis(
        key="sft.epochs",
        values={"a": 1, "b": 2, "c": 3.5},
        others=dict.fromkeys("abc", ""),
        names=dict.fromkeys("abc", ""),
    )
    svg, lines = draw_axis(axis, [row("c", 90), row("a", 70), row("b", 80)], "pope")
    (a, low), (b, middle), (c, high) = places(svg, "s0")
    assert lines == []
    assert (c - b) / (b - a) == pytest.approx(1.5, abs=0.02)
    assert low > middle > high
    assert low - middle == pytest.approx(middle - high, abs=0.2)


def test_cost_is_drawn_from_zero_and_numbered_as_the_table() -> None:
    svg = draw_cost([row("<a>", 80, 50.0), row("b", 85, 100.0)], "pope")
    (a, _), (b, _) = places(svg, "s0")
    left = float(re.findall(r'class="axis" x1="([\d.]+)"', svg)[0])
    assert (b - left) / (a - left) == pytest.approx(2, abs=0.02)
    assert re.findall(r'class="value"[^>]*>(\d)<', svg) == ["1", "2"]
    assert "<a>" not in svg


def test_a_page_links_each_variant_to_the_answers_that_differ(tmp_path: Path, rates: Study, rows: list[Row]) -> None:
    one = Difference(
        benchmark="mme perception", first=1, second=2, difference=1, stderr=1, ci_low=0, ci_high=2,
        p_value=0.3, p_holm=0.3, num_questions=9, num_clusters=3, lower_is_better=False, metric="score",
    )  # fmt: skip
    tables = Tables(differences=[("a & b", one)])
    write_page(rates, rows, [], tmp_path / "study.html", tables=tables, answers=tmp_path / "answers" / "answers.html")
    html = (tmp_path / "study.html").read_text()
    assert 'href="answers/answers.html#b=mme&amp;only=other&amp;with=a+%26+b"' in html
    assert "Score over <code>sft.lr</code>" in html
    assert html.count("<figure>") == 4, "by variant, over two axes, over cost"
    assert "http" not in html.replace("http://www.w3.org", "")
