"""The growing answer file: torn lines, second lives, LLaVA's layout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.answer.journal import Journal
from tinyllava_core.evaluate.questions.answers import read_answers
from tinyllava_core.evaluate.questions.questions import Question

QUESTIONS = [Question(question_id=number, image=None, text=f"question {number}?", gold=()) for number in range(1, 5)]


def test_the_lines_have_llavas_layout_in_the_order_of_the_questions(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    journal = Journal(path, QUESTIONS, "model")
    journal.add([QUESTIONS[3], QUESTIONS[1]], ["d", "line\nbreak"])
    journal.add([QUESTIONS[0], QUESTIONS[2]], ["ä\u2028", ""])
    journal.close()
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    assert [row["question_id"] for row in rows] == [1, 2, 3, 4]
    assert [row["text"] for row in rows] == ["ä\u2028", "line\nbreak", "", "d"]
    assert list(rows[0]) == ["question_id", "prompt", "text", "answer_id", "model_id", "metadata"]
    assert (rows[0]["prompt"], rows[0]["model_id"], rows[0]["metadata"]) == ("question 1?", "model", {})
    assert len({row["answer_id"] for row in rows}) == 4


def test_a_second_life_keeps_whole_lines_and_drops_a_torn_one(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    first = Journal(path, QUESTIONS, "model")
    first.add(QUESTIONS[:2], ["a", "b"])
    first.add(QUESTIONS[2:3], ["ü"])
    for cut in (1, 2, 40, len(path.read_bytes().splitlines()[-1])):
        whole = path.read_bytes()
        path.write_bytes(whole[:-cut])  # also in the middle of a character
        second = Journal(path, QUESTIONS, "model")
        assert second.texts == {1: "a", 2: "b"}
        assert second.left == QUESTIONS[2:]
        assert path.read_bytes().endswith(b"\n")
        second.add(QUESTIONS[2:3], ["ü"])
        assert path.read_bytes() == whole
    Journal(path, QUESTIONS, "model").add(QUESTIONS[3:], ["d"])
    assert list(read_answers(path)) == [1, 2, 3, 4]


def test_the_file_does_not_depend_on_how_often_it_was_interrupted(tmp_path: Path) -> None:
    whole, torn = tmp_path / "whole.jsonl", tmp_path / "torn.jsonl"
    once = Journal(whole, QUESTIONS, "model")
    once.add(QUESTIONS, list("abcd"))
    once.close()
    for place in (2, 0, 3, 1):
        Journal(torn, QUESTIONS, "model").add([QUESTIONS[place]], ["abcd"[place]])
    Journal(torn, QUESTIONS, "model").close()
    assert torn.read_bytes() == whole.read_bytes()


def test_an_empty_file_is_a_start(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_bytes(b'{"question')
    assert Journal(path, QUESTIONS, "model").left == QUESTIONS


def test_another_evaluations_answers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    Journal(path, QUESTIONS, "model").add(QUESTIONS[:1], ["a"])
    other = [Question(question_id=1, image=None, text="another question?", gold=())]
    with pytest.raises(BadInput, match="another evaluation"):
        Journal(path, other, "model")
    with pytest.raises(BadInput, match="another evaluation"):
        Journal(path, QUESTIONS, "another model")


def test_a_line_broken_in_the_middle_is_no_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text('{"question_id": 1, \n{"question_id": 2, "text": "b"}\n')
    with pytest.raises(BadInput, match="line 1: not JSON"):
        Journal(path, QUESTIONS, "model")
