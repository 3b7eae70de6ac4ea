"""Answer files and pictures: what is wrong is said in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.answers import read_answers
from tinyllava_core.evaluate.questions.questions import Question, check_images


def question(question_id: int, image: str | None) -> Question:
    return Question(question_id=question_id, image=image, text="?", gold=())


def test_an_answer_file_in_llavas_layout_is_read(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    rows = [
        {"question_id": 7, "prompt": "?", "text": "Zoë\u2028x", "answer_id": "x", "model_id": "m", "metadata": {}},
        {"question_id": "8", "text": ""},
    ]
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n\n", encoding="utf-8")
    assert read_answers(path) == {7: "Zoë\u2028x", "8": ""}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (
            b'{"question_id": 1, "text": "x"}\n{"question_id": 1, "text": "y"}\n',
            "line 2: question_id 1 occurs twice (first: line 1)",
        ),
        (b'{"question_id": 1, "text": "x"}\n\n{"question_id": 2, "te', "line 3: not JSON"),
        (b'{"question_id": 1, "text": null}\n', "line 1: text = None; expected str"),
        (b'{"question_id": 1, "answer": "x"}\n', "line 1: key 'text' is missing; found: question_id, answer"),
        (b'{"question_id": true, "text": "x"}\n', "line 1: question_id = True; expected int or str"),
        (b'"x"\n', "line 1: found a JSON str"),
        (b"\xff\xfe", "byte 0 is not UTF-8"),
        (b"\n", "is empty"),
    ],
)
def test_a_broken_answer_file_names_the_line(tmp_path: Path, content: bytes, fault: str) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_bytes(content)
    with pytest.raises(BadInput) as error:
        read_answers(path)
    assert fault in str(error.value)
    assert str(path) in str(error.value)


def test_a_missing_answer_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        read_answers(tmp_path / "answers.jsonl")


def test_missing_pictures_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    check_images([question(1, "a.png"), question(2, None)], ImagePlaces.one(tmp_path))
    with pytest.raises(BadInput, match=r"2 of 3 pictures .* \(the first: b.png\)"):
        check_images(
            [question(1, "a.png"), question(2, "b.png"), question(3, "b.png"), question(4, "c.png")],
            ImagePlaces.one(tmp_path),
        )


def test_a_question_without_a_picture_shares_nothing() -> None:
    assert question(1, "a.png").cluster == question(2, "a.png").cluster
    assert question(1, None).cluster != question(2, None).cluster
