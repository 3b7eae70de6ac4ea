"""GQA's file, LLaVA's conversion and the official comparison, worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.questions import Files, Question
from tinyllava_core.evaluate.score.benchmarks.short_answer.gqa import GQA, convert, own_answers
from tinyllava_core.evaluate.score.scoring import score


def row(answer: str, image: str = "n1", structural: str = "query", **more: object) -> dict:
    select = {"operation": "select", "argument": "dog (12)", "dependencies": []}
    name = {"operation": "query", "argument": "name", "dependencies": [0]}
    return {
        "question": "What is the animal?",
        "imageId": image,
        "answer": answer,
        "fullAnswer": f"It is {answer}.",
        "isBalanced": True,
        "semantic": [select, name],
        "types": {"structural": structural, "semantic": "attr", "detailed": "directOf"},
        "groups": {"global": "animal", "local": "x"},
        **more,
    }


def read(path: Path, rows: object) -> list[Question]:
    path.write_text(json.dumps(rows))
    return GQA.variant(None).read(Files(annotations=path))


def test_the_official_file_is_read_and_types_words_and_steps_are_counted(tmp_path: Path) -> None:
    exist = {"operation": "exist", "argument": "?", "dependencies": []}
    rows = {
        "201": row("dog"),
        "202": row("yes", structural="verify", semantic=[exist]),
        "203": row("x", isBalanced=False),
    }
    first, second = read(tmp_path / "testdev.json", rows)  # what is not balanced is not in the official average
    assert (first.question_id, first.image, first.gold) == ("201", "n1.jpg", ("dog",))
    assert first.text == "What is the animal?\nAnswer the question using a single word or phrase."
    assert first.facets == (
        "open",
        "structural.query",
        "semantic.attr",
        "words.04",
        "steps.1",
    )  # the query adds no step
    assert second.facets[0] == "binary"
    assert second.facets[-1] == "steps.0"


@pytest.mark.parametrize(
    ("text", "out"),
    [("Yes.", "yes"), ("Yes..", "yes"), ("A. B.", "a. b"), ("the dog", "the dog"), ("t-shirt", "t-shirt"), (" No", " no"),
     ("blue,", "blue,"), ("Yes. ", "yes. "), ("", "")],
)  # fmt: skip
def test_llavas_conversion_strips_final_stops_and_lowers_and_nothing_else(text: str, out: str) -> None:
    assert convert(text) == out


def test_answers_are_compared_letter_by_letter(tmp_path: Path) -> None:
    rows = {str(n): row("dog", image=f"n{n // 2}") for n in range(4)}
    questions = read(tmp_path / "testdev.json", rows)
    said = {"0": "Dog.", "1": "dog", "2": "a dog", "3": ""}
    llava, raw = (score(GQA, variant, questions, said) for variant in ("llava", "official"))
    assert [item.score for item in llava.items] == [1, 1, 0, 0]
    assert [item.score for item in raw.items] == [0, 1, 0, 0]
    assert (llava.score, raw.score, llava.headline.num_clusters) == (50, 25, 2)
    assert llava.value("open") == 50
    assert llava.num_unparsed == 1
    # the mean of two draws out of {0, 1}: standard deviation sqrt(1/8)
    assert llava.stderr == pytest.approx(100 * 0.125**0.5, rel=0.05)
    assert (llava.headline.ci_low, llava.headline.ci_high) == (0, 100)


def test_every_balanced_question_must_be_answered(tmp_path: Path) -> None:
    questions = read(tmp_path / "testdev.json", {"1": row("dog"), "2": row("cat")})
    with pytest.raises(BadInput, match="1 of 2 questions have none"):
        score(GQA, None, questions, {"1": "dog"})


def test_gqas_own_result_format_is_read(tmp_path: Path) -> None:
    path = tmp_path / "predictions.json"
    path.write_text(json.dumps([{"questionId": "1", "prediction": "dog"}]))
    assert own_answers(path, []) == {"1": "dog"}


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ([], "expected GQA's"),
        ({}, "no balanced question"),
        ({"1": {"question": "?"}}, "question 1: key 'imageId' is missing"),
        ({"1": {**row("x"), "types": {}}}, "question 1: key 'structural' is missing"),
    ],
)
def test_annotations_of_another_shape_are_one_clear_line(tmp_path: Path, rows: object, fault: str) -> None:
    with pytest.raises(BadInput, match=fault):
        read(tmp_path / "x.json", rows)
