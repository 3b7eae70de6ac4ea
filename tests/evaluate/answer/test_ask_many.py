"""A file of questions: each answered as it would be alone, once, in its order, also past a kill; every fault has its line."""

from __future__ import annotations

import fcntl
import json
import shutil
from pathlib import Path

import pytest

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.answer.answer import Answerer, Asked
from tinyllava_core.evaluate.answer.ask import main
from tinyllava_core.evaluate.answer.ask_many import ask_many, check_out, read_requests
from tinyllava_core.job import AskJob

ROWS = [
    {"question": "is there a red square?", "image": "0.png", "id": 7},
    {"question": "what is\u2028written\u0085?", "image": ["1.png", "2.png"]},  # line ends to Python, not to JSON
    {"question": "yes or no", "image": None},
    {"question": "exit?", "image": "3.png", "note": {"kept": True}},
    {"question": "no image key"},
]


@pytest.fixture
def questions(images: Path, tmp_path: Path) -> Path:
    for file in images.iterdir():
        shutil.copy(file, tmp_path)
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def answerer(checkpoint_folder: Path) -> Answerer:
    return Answerer(checkpoint_folder)


def expected(answerer: Answerer, folder: Path) -> list[dict]:
    rows = []
    for row in ROWS:
        image = row.get("image")
        names = [] if image is None else [image] if isinstance(image, str) else image
        pictures = tuple(answerer.picture(folder / name) for name in names)
        ids = answerer.ids(row["question"], sizes=[one.size for one in pictures])
        rows.append({**row, "answer": answerer.answer([Asked(ids=ids, pictures=pictures)], 6)[0]})
    return rows


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


def test_every_line_comes_out_again_with_the_answer_it_would_have_alone(
    checkpoint_folder: Path, answerer: Answerer, questions: Path, tmp_path: Path
) -> None:
    out = tmp_path / "answers.jsonl"
    sizes = {"batch_size": 2, "max_new_tokens": 6}
    todo = AskJob(checkpoint=checkpoint_folder, batch=questions, out=out, device="cpu", **sizes)
    assert main([todo.model_dump_json()]) == 0
    assert lines(out) == expected(answerer, tmp_path)


def test_a_killed_run_goes_on_and_asks_nothing_twice(
    answerer: Answerer, questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three answers are there, and the fourth was cut off in the middle of its line."""
    out, requests = tmp_path / "answers.jsonl", read_requests(questions)
    told = expected(answerer, tmp_path)
    whole = [json.dumps(row) + "\n" for row in told]
    out.write_text("".join(whole[:3]) + whole[3][:9])
    asked: list[int] = []
    answer = answerer.answer
    monkeypatch.setattr(answerer, "answer", lambda batch, n: asked.append(len(batch)) or answer(batch, n))
    ask_many(answerer, requests, out, 16, 6)
    assert asked == [2]
    assert lines(out) == told
    ask_many(answerer, requests, out, 16, 6)
    assert asked == [2]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"my only notes, one line without an end", "line 1: has no line end, and is no answer that was cut off"),
        (b'{"question": "another?"}', "line 1: has no line end"),
        (json.dumps({**ROWS[0], "answer": "x"}).encode() + b"\n" + b"notes", "line 2: has no line end"),
        (json.dumps(ROWS[0]).encode() + b"\n", "line 1: is no answer to"),  # a question, without an answer
        (b"[" * 200_000 + b"\n", "line 1: is no answer to"),
    ],
)
def test_a_file_that_holds_anything_but_answers_to_these_questions_stays_as_it_is(
    answerer: Answerer, questions: Path, tmp_path: Path, content: bytes, fault: str
) -> None:
    """A person's notes were taken for an answer that a kill had cut off, and were gone."""
    out, requests = tmp_path / "notes.txt", read_requests(questions)
    out.write_bytes(content)
    for look in (lambda: check_out(out, questions, requests), lambda: ask_many(answerer, requests, out, 2, 6)):
        with pytest.raises(BadInput, match=fault):
            look()
        assert out.read_bytes() == content


def test_answers_go_to_no_questions_no_device_and_no_folder_that_is_not_there(
    questions: Path, checkpoint_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = questions.read_bytes()
    for out, fault in (
        (questions, "are the questions themselves"),
        (Path("/dev/null"), "is no regular file"),
        (tmp_path / "none" / "a.jsonl", "no folder"),
    ):
        sizes = {"batch_size": 2, "max_new_tokens": 6}
        todo = AskJob(checkpoint=checkpoint_folder, batch=questions, out=out, device="cpu", **sizes)
        assert main([todo.model_dump_json()]) == 2
        assert fault in capsys.readouterr().err
    assert questions.read_bytes() == before


def test_two_commands_do_not_write_to_one_file(answerer: Answerer, questions: Path, tmp_path: Path) -> None:
    out = tmp_path / "answers.jsonl"
    with out.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(BadInput, match="another command is writing answers there"):
            ask_many(answerer, read_requests(questions), out, 2, 6)


def test_answers_to_other_questions_are_not_gone_on_with(answerer: Answerer, questions: Path, tmp_path: Path) -> None:
    out = tmp_path / "answers.jsonl"
    out.write_text(json.dumps({**ROWS[1], "answer": "x"}) + "\n")
    with pytest.raises(BadInput, match=r"answers\.jsonl, line 1: is no answer to .*questions\.jsonl, line 1"):
        ask_many(answerer, read_requests(questions), out, 2, 6)
    out.write_text("".join(json.dumps({**row, "answer": "x"}) + "\n" for row in [*ROWS, ROWS[0]]))
    with pytest.raises(BadInput, match="6 answers to 5 questions"):
        ask_many(answerer, read_requests(questions), out, 2, 6)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('{"question": "what?"', "line 2: not JSON"),
        ("[1]", "line 2: expected an object"),
        ('{"image": "0.png"}', "line 2: question = None; expected a text"),
        ('{"question": " "}', "line 2: question = ' '; expected a text"),
        ('{"question": "what?", "image": 3}', "line 2: image = 3; expected a path"),
        ('{"question": "what?", "image": "9.png"}', "line 2: .*9.png: no such file"),
        ('{"question": "what?", "answer": "yes"}', "line 2: has an answer already"),
    ],
)
def test_a_wrong_line_is_named_before_a_model_is_loaded(questions: Path, line: str, fault: str) -> None:
    questions.write_text(json.dumps(ROWS[0]) + "\n" + line + "\n")
    with pytest.raises(BadInput, match=fault):
        read_requests(questions)


def test_a_picture_that_cannot_be_read_is_named_with_its_line_and_keeps_what_was_answered(
    answerer: Answerer, questions: Path, tmp_path: Path
) -> None:
    (tmp_path / "3.png").write_text("no picture")
    with pytest.raises(BadInput, match=r"line 4: .*3\.png: cannot be read as a picture"):
        ask_many(answerer, read_requests(questions), tmp_path / "answers.jsonl", 1, 6)
    assert len(lines(tmp_path / "answers.jsonl")) == 3


def test_a_file_without_questions_or_that_is_not_there_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(BadInput, match="holds no question"):
        read_requests(tmp_path / "empty.jsonl")
    with pytest.raises(BadInput, match="no such file"):
        read_requests(tmp_path / "none.jsonl")
