"""A study's table and figures, worked out by hand."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tinyllava_core.report.scores import Measured, ScoreRow
from tinyllava_core.study.figures import draw
from tinyllava_core.study.grid import Study
from tinyllava_core.study.page import write_page
from tinyllava_core.study.table import Finished, apart, as_csv, cells, markdown, tabulate, told


def finished(variant: str, seed: int, seen: float, blind: float | None = None) -> Finished:
    score = ScoreRow(
        benchmark="pope",
        metric="accuracy",
        seen=Measured(score=seen, stderr=1.5),
        blind=None if blind is None else Measured(score=blind, stderr=1.0),
        num_questions=8,
        num_unparsed=0,
    )
    return Finished(
        variant=variant,
        seed=seed,
        scores=(score,),
        num_trained=1234,
        train_seconds=10.0 * seed,
        last_loss=0.5,
        checkpoint=Path("c"),
    )


def test_several_seeds_give_their_mean_and_its_standard_error() -> None:
    """80 and 90: mean 85, deviation 7.07, over the root of two: 5. One seed: the score's own error."""
    two, one = tabulate([finished("<a>", 1, 80, 50), finished("<a>", 2, 90, 52), finished("b", 1, 70)])
    cell = two.cells["pope"]
    assert (cell.score, cell.error, cell.blind) == (85, pytest.approx(5), 51)
    assert (two.num_runs, two.train_seconds) == (2, 15)
    assert (one.cells["pope"].score, one.cells["pope"].error, one.cells["pope"].blind) == (70, 1.5, None)


def test_the_table_says_whether_its_errors_count_trainings_or_questions() -> None:
    """The unit is a training only where every variant has several."""
    once = told([finished("a", 1, 80), finished("b", 1, 70)])
    assert once.startswith("± is one standard error over the questions of one training")
    assert "not whether the same change would do the same in another order" in once
    orders = [dataclasses.replace(finished(name, 1, 80), order=order) for name in "ab" for order in range(3)]
    assert "over the trainings of a variant, 3 each (1 seeds x 3 orders of the records)" in told(orders)
    assert told([*orders, finished("c", 1, 70)]) == once


def test_a_score_of_another_scale_is_told_in_percent_and_a_variant_by_its_name() -> None:
    """1,400 of 2,800 is half; an error of 28 is one percent."""
    score = ScoreRow(
        benchmark="mme",
        metric="score",
        variant="perception",
        seen=Measured(score=1400, stderr=28, max_score=2800),
        blind=Measured(score=700, stderr=28, max_score=2800),
        num_questions=8,
        num_unparsed=0,
    )
    (row,) = tabulate([dataclasses.replace(finished("a", 1, 0), scores=(score,))])
    assert row.cells.keys() == {"mme perception"}
    cell = row.cells["mme perception"]
    assert (cell.score, cell.error, cell.blind) == (50, 1, 25)


def test_corrupted_pictures_have_columns_of_their_own() -> None:
    (plain,) = finished("a", 1, 80, 50).scores
    corrupted = {"blur-3": Measured(score=60, stderr=2), "crop-3": Measured(score=40, stderr=3)}
    scores = tuple(apart([dataclasses.replace(plain, variant="accuracy", corrupted=corrupted)]))
    (row,) = tabulate([dataclasses.replace(finished("a", 1, 0), scores=scores)])
    assert {name: (cell.score, cell.error, cell.blind) for name, cell in row.cells.items()} == {
        "pope accuracy": (80, 1.5, 50),
        "pope accuracy blur-3": (60, 2, None),
        "pope accuracy crop-3": (40, 3, None),
    }


def test_the_table_reads_the_same_as_cells_as_markdown_and_as_csv() -> None:
    runs = [finished("a", 1, 80, 50), finished("b", 1, 70)]
    assert cells(tabulate(runs)) == [
        ["variant", "pope", "trained", "last loss", "training"],
        ["a", "80.0 ± 1.5 (blind 50.0)", "1,234", "0.500", "10 s"],
        ["b", "70.0 ± 1.5", "1,234", "0.500", "10 s"],
    ]
    assert markdown(cells(tabulate(runs))).splitlines()[1:3] == [
        "| --- | --- | --- | --- | --- |",
        "| a | 80.0 ± 1.5 (blind 50.0) | 1,234 | 0.500 | 10 s |",
    ]
    (first, second) = csv.DictReader(io.StringIO(as_csv(runs)))
    assert (first["variant"], first["score"], first["blind"], second["blind"]) == ("a", "80", "50", "")


def test_a_figure_has_a_point_for_each_variant_to_scale_and_a_ring_for_blind() -> None:
    """From 50 to 90: 80 stands three quarters of the way, 60 one quarter."""
    svg = draw(tabulate([finished("<a>", 1, 80, 50), finished("b", 1, 60), finished("c", 1, 88.5)]), "pope")
    ticks = [float(x) for x in re.findall(r'class="grid" x1="([\d.]+)"', svg)]
    seen = [float(x) for x in re.findall(r'class="seen" cx="([\d.]+)"', svg)]
    (blind,) = re.findall(r'class="blind" cx="([\d.]+)"', svg)
    wide = ticks[-1] - ticks[0]
    assert float(blind) == ticks[0]
    assert [(x - ticks[0]) / wide for x in seen] == pytest.approx([0.75, 0.25, 0.9625], abs=0.002)
    assert "<a>" not in svg


def test_the_page_is_whole_and_names_what_failed(tmp_path: Path) -> None:
    study = Study.parse({"name": "mine", "description": "<b>", "recipe": "toy", "variants": [{"name": "a"}]}, "test")
    write_page(study, tabulate([finished("a", 1, 80)]), ["b, seed 1: it broke"], tmp_path / "study.html")
    html = (tmp_path / "study.html").read_text()
    open_tags: list[str] = []

    class Balanced(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag != "meta":
                open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert open_tags.pop() == tag

    Balanced().feed(html)
    assert open_tags == []
    assert "it broke" in html
    assert "&lt;b&gt;" in html
    assert "80.0 ± 1.5" in html
    write_page(study, [], ["a, seed 1: it broke"], tmp_path / "study.html")
