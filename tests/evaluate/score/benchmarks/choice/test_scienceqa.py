"""ScienceQA's files, LLaVA's parser and its two denominators, worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.questions import Files, Question
from tinyllava_core.evaluate.score.benchmarks.choice.scienceqa import SCIENCEQA, parse
from tinyllava_core.evaluate.score.scoring import score


def problem(answer: int = 0, **more: object) -> dict:
    return {
        "question": "Which is it?",
        "choices": ["iron", "gold"],
        "answer": answer,
        "hint": "",
        "image": None,
        "grade": "grade4",
        "subject": "natural science",
        "split": "test",
        **more,
    }


def read(folder: Path, problems: dict, splits: dict | None = None) -> list[Question]:
    (folder / "problems.json").write_text(json.dumps(problems))
    if splits is not None:
        (folder / "pid_splits.json").write_text(json.dumps(splits))
    return SCIENCEQA.variant(None).read(Files(annotations=folder))


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("A", "A"),
        ("E", "E"),
        ("B. gold", "B"),
        ("B. ", "B"),
        ("The answer is C.", "C"),
        ("I think so. The answer is B, really", "B"),
        ("A.", "FAILED"),
        ("(A)", "FAILED"),
        ("A)", "FAILED"),
        ("Answer: A", "FAILED"),
        ("a", "FAILED"),
        ("F", "FAILED"),
        ("", "FAILED"),
        ("The answer is B", "FAILED"),  # no character behind the letter
        ("The answer is A. The answer is B.", "FAILED"),  # must match exactly once
        ("the answer is A.", "FAILED"),
        ("A .iron", "FAILED"),
        ("The answer is X.", "X"),  # a letter, and wrong later: there are at most five choices
    ],
)
def test_an_answer_is_read_as_llava_reads_it(text: str, letter: str) -> None:
    assert parse(text) == letter


def test_the_question_is_laid_out_with_its_hint_and_options(tmp_path: Path) -> None:
    shown = problem(1, hint="It shines.", image="image.png", grade="grade7", subject="social science")
    (one,) = read(tmp_path, {"12": shown, "13": problem()}, {"test": ["12"], "train": ["13"]})
    assert one.text == (
        "Context: It shines.\nWhich is it?\nA. iron\nB. gold\n"
        "Answer with the option's letter from the given choices directly."
    )
    assert (one.image, one.gold) == ("12/image.png", ("B",))
    assert one.facets == ("subject.SOC", "context.text", "context.image", "grade.7-12")


def test_without_the_splits_file_the_problems_own_split_counts(tmp_path: Path) -> None:
    questions = read(tmp_path, {"1": problem(), "2": problem(split="train")})
    assert [one.question_id for one in questions] == ["1"]
    assert questions[0].facets == ("subject.NAT", "context.none", "grade.1-6")


def test_accuracy_is_over_all_and_over_those_with_a_picture(tmp_path: Path) -> None:
    problems = {
        "1": problem(0, image="image.png"),
        "2": problem(1, image="image.png"),
        "3": problem(0),
        "4": problem(0),
    }
    questions = read(tmp_path, problems)
    said = {"1": "A", "2": "A. iron", "3": "A", "4": "iron"}
    whole, img = (score(SCIENCEQA, variant, questions, said) for variant in ("all", "img"))
    assert (whole.metric, whole.score) == ("accuracy", 50)
    assert (img.metric, img.score, img.headline.n) == ("img_accuracy", 50, 2)
    assert (whole.num_unparsed, SCIENCEQA.default) == (1, "img")
    assert whole.value("context.none") == 50


def test_a_letter_beyond_the_choices_is_wrong(tmp_path: Path) -> None:
    questions = read(tmp_path, {"1": problem()})
    assert score(SCIENCEQA, "all", questions, {"1": "E"}).score == 0


def test_a_missing_answer_is_wrong_in_all_and_falls_out_of_img(tmp_path: Path) -> None:
    """The official counting, if it is asked for; otherwise a missing answer is a fault."""
    questions = read(tmp_path, {"1": problem(image="image.png"), "2": problem(image="image.png")})
    with pytest.raises(BadInput, match="1 of 2 questions have none"):
        score(SCIENCEQA, "all", questions, {"1": "A"})
    whole, img = (score(SCIENCEQA, variant, questions, {"1": "A"}, missing_allowed=True) for variant in ("all", "img"))
    assert (whole.score, whole.headline.n) == (50, 2)
    assert (img.score, img.headline.n) == (100, 1)


@pytest.mark.parametrize(
    ("problems", "splits", "fault"),
    [
        ({"1": {}}, None, "expected ScienceQA's"),
        ({"1": problem(2)}, None, "answer = 2 of 2 choices"),
        ({"1": problem(choices=list("abcdef"))}, None, "of 6 choices"),
        ({"1": problem()}, {"test": ["1", "2"]}, r"1 of the test split are not in problems.json \(the first: '2'\)"),
        ({"1": problem()}, {"val": ["1"]}, "expected ScienceQA's {'test'"),
        ({"1": problem(split="val")}, None, "no problem of the test split"),
    ],
)
def test_files_of_another_shape_are_one_clear_line(
    tmp_path: Path, problems: dict, splits: dict | None, fault: str
) -> None:
    with pytest.raises(BadInput, match=fault):
        read(tmp_path, problems, splits)
