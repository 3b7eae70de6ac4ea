"""A benchmark of one's own: what each rule gives, by hand; the table in every ending; what is wrong with it in one line."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from benchmark_samples import write_json, write_lines

from tinyllava_core.data.manifest.manifest import Manifest, load
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.questions import Files, Question
from tinyllava_core.evaluate.score.benchmarks import benchmark
from tinyllava_core.evaluate.score.scoring import Scored, score


def questions(path: Path, rule: str = "exact", name: str = "own") -> list[Question]:
    return benchmark(name).variant(rule).read(Files(annotations=path))


def worth(tmp_path: Path, rule: str, reply: str, *right: str) -> float:
    """Score one reply to one question, from 0 to 100."""
    path = write_lines(tmp_path / "mine.jsonl", [{"question": "?", "answers": list(right)}])
    return score(benchmark("own"), rule, questions(path, rule), {0: reply}).score


@pytest.mark.parametrize(
    ("rule", "reply", "right", "expected"),
    [
        ("exact", " A  Cat.", ["a cat"], 100), ("exact", "It is a cat", ["a cat"], 0), ("exact", "dog", ["cat", "dog"], 100),
        ("contains", "It is a cat, I think.", ["cat"], 100), ("contains", "category", ["cat"], 0),
        ("contains", "costs $3.50 now", ["$3.50"], 100),
        ("vqa", "2", ["two"] * 3 + ["three"] * 7, 90),  # (7 x 1 + 3 x 2/3) / 10: each person left out in turn
        ("vqa", "Two.", ["2"], 100), ("vqa", "three", ["2"], 0),
        ("anls", "abcx", ["abcd"], 75), ("anls", "axxx", ["abcd"], 0),
        ("numeric", "There are 1,200 of them", ["1200"], 100), ("numeric", "1200.0", ["1,200"], 100),
        ("numeric", "3 and then 4", ["3"], 0), ("numeric", "62 %", ["62"], 0), ("numeric", "62 %", ["62%"], 100),
        ("numeric", "none", ["0"], 0), ("numeric", "-3", ["-3"], 100),
        ("within-5", "104", ["100"], 100), ("within-5", "106", ["100"], 0), ("within-5", "Blue", ["blue"], 100),
    ],
)  # fmt: skip
def test_each_rule_gives_what_it_says(tmp_path: Path, rule: str, reply: str, right: list[str], expected: float) -> None:
    assert worth(tmp_path, rule, reply, *right) == pytest.approx(expected)


def test_the_letter_rule_writes_the_options_below_and_takes_a_letter_or_an_options_text_as_right(
    tmp_path: Path,
) -> None:
    rows = [{"question": "Which?", "options": ["red", "blue"], "answer": right} for right in ("B", "blue")]
    asked = questions(write_lines(tmp_path / "mine.jsonl", rows), "letter")
    assert asked[0].text.startswith("Which?\nA. red\nB. blue\nAnswer with the option's letter")
    assert [one.gold for one in asked] == [("B",), ("B",)]
    assert score(benchmark("own"), "letter", asked, {0: "B.", 1: "A"}).score == 50


def as_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(
            {name: json.dumps(cell) if isinstance(cell, list) else cell for name, cell in row.items()} for row in rows
        )
    return path


@pytest.mark.parametrize("write", [write_lines, write_json, as_csv])
def test_the_same_table_in_any_ending_is_the_same_questions(tmp_path: Path, write: Any) -> None:
    rows = [
        {"id": "n1", "question": "What, exactly?", "image": "a/1.jpg", "answers": ["a cat", "cat"], "category": "animals"},
        {"id": "n2", "question": "Und hier: Größe?", "image": "", "answers": ["12"], "category": "sizes"},
    ]  # fmt: skip
    ending = {write_lines: "jsonl", write_json: "json", as_csv: "csv"}[write]
    first, second = questions(write(tmp_path / f"mine.{ending}", rows))
    assert (first.question_id, first.image, first.gold, first.facets) == (
        "n1",
        "a/1.jpg",
        ("a cat", "cat"),
        ("animals",),
    )
    assert (second.text, second.image, second.gold) == ("Und hier: Größe?", None, ("12",))


def test_a_category_is_a_sub_score_and_a_question_may_be_about_several_pictures(tmp_path: Path) -> None:
    rows = [{"question": "?", "image": ["a.jpg", "b.jpg"], "answer": n % 2, "category": "xy"[n // 2]} for n in range(4)]
    asked = questions(write_lines(tmp_path / "mine.jsonl", rows))
    assert asked[0].pictures == ("a.jpg", "b.jpg")
    found: Scored = score(benchmark("own"), None, asked, {0: "0", 1: "1", 2: "0", 3: "7"})
    assert (found.score, found.value("x"), found.value("y")) == (75, 100, 50)


@pytest.mark.parametrize(
    ("row", "rule", "told"),
    [
        ({"answer": "x"}, "exact", "line 1: key 'question' is missing; found: answer"),
        ({"question": " ", "answer": "x"}, "exact", "line 1: question is empty"),
        ({"question": "?", "answer": "x", "image": 7}, "exact", "image = 7; expected a path, or a list of paths"),
        ({"question": "?", "answers": [["x"]]}, "exact", "expected a list of texts"),
        ({"question": "?", "answers": []}, "exact", r"answers = \[\]; expected one or more"),
        ({"question": "?", "answer": "x", "id": 1.5}, "exact", "id = 1.5; expected a text or a whole number"),
        ({"question": "?", "answer": "x"}, "letter", "0 options; rule letter needs `options`"),
        ({"question": "?", "answer": "C", "options": ["x", "y"]}, "letter", "answer = 'C'; expected one of AB"),
    ],
)
def test_what_is_wrong_with_a_row_is_said_in_one_line(
    tmp_path: Path, row: dict[str, Any], rule: str, told: str
) -> None:
    with pytest.raises(BadInput, match=told) as caught:
        questions(write_lines(tmp_path / "mine.jsonl", [row]), rule)
    assert "\n" not in str(caught.value)


def test_a_manifest_names_the_rule_and_an_unknown_one_lists_them(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "{kind: benchmark, name: mine, annotations: {path: mine.csv}, images: [{folder: pictures}], scorer: own, variant: contains}"
    )
    manifest: Manifest = load(str(tmp_path / "mine.yaml"))
    assert benchmark(str(manifest.scorer)).variant(manifest.variant).meaning.startswith("a right answer stands")
    with pytest.raises(BadInput, match=r"unknown variant of own 'exakt'; nearest: 'exact'"):
        benchmark("own").variant("exakt")


def test_easy_vqa_asks_the_open_questions_alone_unless_all_are_wanted(tmp_path: Path) -> None:
    rows = [["what is the red shape?", "circle", 0], ["is there a red shape?", "yes", 0], ["what color?", "red", 12]]
    path = write_json(tmp_path / "questions.json", rows)
    asked = questions(path, "open", "easyvqa")
    assert [(one.question_id, one.image, one.gold, one.facets) for one in asked] == [
        (0, "0.png", ("circle",), ("shape",)),
        (2, "12.png", ("red",), ("colour",)),
    ]
    found = score(benchmark("easyvqa"), "open", asked, {0: "Circle.", 2: "it is red"})
    assert (found.score, found.num_unparsed) == (50, 1)
    assert len(questions(path, "all", "easyvqa")) == 3
    with pytest.raises(
        BadInput, match=r"questions.json, \[0\]: .*expected \[question, one of its 13 answers, picture\]"
    ):
        questions(write_json(path, [["what?", "purple", 0]]), "open", "easyvqa")


def test_a_quote_that_nothing_closes_takes_no_question_with_it(tmp_path: Path) -> None:
    """Three questions were two: a cell that begins with a quote goes on to the next one, over any line."""
    rows = ["question,answer", 'a?,"red" or blue', "b?,green", 'c?,"x" y', ""]
    (tmp_path / "a.csv").write_text("\n".join(rows))
    with pytest.raises(BadInput, match=r"a\.csv: .* expected after .*; expected a table of texts, a quote that begins"):
        questions(tmp_path / "a.csv")
