"""Where two variants differ: counted by hand, said in words, and linked to the answers themselves."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.study.test_table import finished
from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.report.answers.collect import Answered, Asked
from tinyllava_core.study.grid import Study
from tinyllava_core.study.page import Tables, write_page
from tinyllava_core.study.table import tabulate
from tinyllava_core.study.where import moved


def given(run: str, *scores: float | None, condition: str = "seen") -> Answered:
    rows = {place: {"answer": "", "score": score} for place, score in enumerate(scores)}
    return Answered(run=run, run_id=f"{run}-1", condition=condition, score=50, stderr=1, prompt_sha256="0", rows=rows)


def asked(*answered: Answered) -> Asked:
    """Six questions: four expect yes, two no; the last is of no kind more."""
    kinds = [("expects yes", "shape"), ("expects yes", "shape"), ("expects yes",), ("expects yes",), ("expects no",), ("expects no",)]  # fmt: skip
    names = [str(place) for place in range(6)]
    return Asked(
        name="pope", metric="accuracy", ids=list(range(6)), texts=names, pictures=[()] * 6, gold=[""] * 6, kinds=kinds,
        trained_on=frozenset(), images=ImagePlaces.one(Path()), answered=answered,
    )  # fmt: skip


def test_what_each_has_right_alone_is_counted_in_all_and_by_kind_the_greatest_change_first() -> None:
    """a: 1 1 0 0 1 .6, b: 0 0 1 0 1 .4: b gains the third, loses the first two and the last, whose score falls below a half."""
    a, b = given("a", 1, 1, 0, 0, 1, 0.6), given("b", 0, 0, 1, 0, 1, 0.4)
    (one,) = moved([asked(a, given("a", 0, 0, 0, 0, 0, 0, condition="blind"), b)], {})
    assert (one.variant, one.first, one.benchmark, one.subscores) == ("b", "a", "pope", ())
    assert (one.whole.num_questions, one.whole.num_gained, one.whole.num_lost) == (6, 1, 3)
    assert (one.whole.first, one.whole.other) == (pytest.approx(60), pytest.approx(40))
    assert [(row.kind, row.num_questions, row.net) for row in one.kinds] == [("shape", 2, -2), ("expects yes", 4, -1), ("expects no", 2, -1)]  # fmt: skip
    assert (one.kinds[0].first, one.kinds[0].other) == (100, 0)


def test_it_is_said_in_words_with_the_subscores_that_moved_most() -> None:
    a, b = given("a", 1, 1, 0, 0, 1, 1), given("b", 0, 0, 1, 0, 1, 1)
    scores = {"a": {"pope": {"recall": 50.0, "mean_precision": 60.0, "f1": 55.0}}, "b": {"pope": {"recall": 30.0, "mean_precision": 70.0, "f1": 54.0, "new": 1.0}}}  # fmt: skip
    (one,) = moved([asked(a, b)], scores)
    assert one.told() == (
        "“b” is right on 1 question that “a” has wrong, and wrong on 2 questions that it has right. "
        "By kind: shape −2 of 2, expects yes −1 of 4. Of the sub-scores: recall −20.0, mean precision +10.0."
    )
    (same,) = moved([asked(a, dataclasses.replace(a, run="c"))], {})
    assert same.told() == "Both are right on the same pope questions."


def test_a_question_that_one_was_not_asked_or_that_has_no_score_is_left_out() -> None:
    a, b = given("a", 1, None, 1, 0), given("b", 1, 1, 0)
    (one,) = moved([asked(a, b)], {})
    assert (one.whole.num_questions, one.whole.num_lost) == (2, 1)
    assert moved([asked(given("a", None), given("b", None))], {}) == []


def test_the_page_shows_it_and_every_count_links_to_its_answers(tmp_path: Path) -> None:
    found = moved([asked(given("a", 1, 1, 0, 0, 1, 1), given("<b>", 0, 0, 1, 0, 1, 1))], {})
    study = Study.parse({"name": "mine", "recipe": "toy", "variants": [{"name": "a"}]}, "test")
    rows = tabulate([finished("a", 1, 86.0)])
    write_page(study, rows, [], tmp_path / "study.html", tables=Tables(moved=found), answers=tmp_path / "answers.html")
    html = (tmp_path / "study.html").read_text()
    assert "“&lt;b&gt;” is right on 1 question that “a” has wrong" in html
    assert 'href="answers.html#b=pope&amp;only=worse&amp;with=%3Cb%3E"' in html
    assert 'href="answers.html#b=pope&amp;only=better&amp;with=%3Cb%3E&amp;kind=shape"' in html
    assert "<b>" not in html
