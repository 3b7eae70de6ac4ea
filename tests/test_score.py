"""`tinyllava score`: what it writes and prints, and that wrong input is one clear line with exit code 2."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from judge_server import judge_server

from tinyllava_core import cli
from tinyllava_core.evaluate.questions.answers import prompt_sha256
from tinyllava_core.evaluate.questions.questions import Question

SUFFIX = "\nAnswer the question using a single word or phrase."


def lines(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def pope(tmp_path: Path) -> Path:
    """Two pictures, two questions each."""
    labels = ["yes", "no", "yes", "no"]
    asked = [
        {"question_id": n, "image": f"{n // 2}.jpg", "text": "Is there?", "label": label, "category": "random"}
        for n, label in enumerate(labels)
    ]
    return lines(tmp_path / "pope.json", asked)


@pytest.fixture
def said(tmp_path: Path) -> Path:
    texts = ["Yes", "No", "Yes", "maybe"]
    rows = [
        {
            "question_id": n,
            "prompt": "Is there?" + SUFFIX,
            "text": text,
            "answer_id": "x",
            "model_id": "m",
            "metadata": {},
        }
        for n, text in enumerate(texts)
    ]
    return lines(tmp_path / "answers.jsonl", rows)


def run(*words: object) -> int:
    return cli.main(["score", *map(str, words)])


def test_scores_items_hashes_and_the_table(
    tmp_path: Path, pope: Path, said: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out" / "scores.json"
    assert run("pope", "--answers", said, "--annotations", pope, "--variant", "accuracy", "--out", out) == 0
    told = json.loads(out.read_text())
    assert (told["benchmark"], told["variant"], told["metric"], told["score"]) == ("pope", "accuracy", "accuracy", 75)
    assert (told["num_questions"], told["num_clusters"], told["num_unparsed"], told["unparsed_fraction"]) == (
        4,
        2,
        1,
        0.25,
    )
    assert told["ci_low"] < 75 < told["ci_high"]
    assert (told["judge"], told["cluster"], told["max_score"]) == (None, "image", 100)
    for name, path in (("answers", said), ("annotations", pope)):
        assert told["files"][name]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    questions = [Question(question_id=n, image=None, text="", gold=()) for n in range(4)]
    assert told["prompt_sha256"] == prompt_sha256(questions, dict.fromkeys(range(4), "Is there?" + SUFFIX))
    ratio = next(one for one in told["subscores"] if one["name"] == "random.yes_ratio")
    assert (ratio["value"], ratio["n"]) == (75, 4)
    items = [json.loads(line) for line in (tmp_path / "out" / "scores.items.jsonl").read_text().splitlines()]
    assert items[3] == {
        "question_id": 3,
        "image": "1.jpg",
        "answer": "maybe",
        "parsed": "yes",
        "score": 0.0,
        "cluster": "1.jpg",
        "facets": ["random"],
        "counts": [],
        "unparsed": True,
    }
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "pope, variant accuracy: 4 questions, 2 draws, 1 unparsed"
    assert printed[2].split()[:3] == ["accuracy", "75.00", "25.00"]


def test_the_same_command_gives_the_same_bytes(tmp_path: Path, pope: Path, said: Path) -> None:
    for name in ("a", "b"):
        assert run("pope", "--answers", said, "--annotations", pope, "--out", tmp_path / f"{name}.json") == 0
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert (tmp_path / "a.items.jsonl").read_bytes() == (tmp_path / "b.items.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda rows: rows[:3], "answers: 1 of 4 questions have none (the first: question_id 3)"),
        (lambda rows: [*rows, rows[1]], "answers.jsonl, line 5: question_id 1 occurs twice (first: line 2)"),
        (lambda rows: [*rows[:2], {"question_id": 2}, rows[3]], "answers.jsonl, line 3: key 'text' is missing"),
        (lambda rows: [{**row, "question_id": row["question_id"] + 9} for row in rows], "is it the same split?"),
        (lambda rows: [], "no such"),
    ],
)
def test_wrong_answers_are_one_line_and_exit_code_2(
    tmp_path: Path, pope: Path, said: Path, capsys: pytest.CaptureFixture[str], change, fault: str
) -> None:
    rows = change([json.loads(line) for line in said.read_text().splitlines()])
    lines(said, rows) if rows else said.unlink()
    assert run("pope", "--answers", said, "--annotations", pope, "--out", tmp_path / "scores.json") == 2
    out, err = capsys.readouterr()
    assert fault in err
    assert (out, err.count("\n")) == ("", 1)
    assert not (tmp_path / "scores.json").exists()


def test_a_malformed_line_is_named(pope: Path, said: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said.read_text().splitlines()
    said.write_text("\n".join([text[0], text[1][:-9], *text[2:]]))
    assert run("pope", "--answers", said, "--annotations", pope) == 2
    assert "answers.jsonl, line 2: not JSON" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["popo", "--annotations", "x"], "unknown scorer 'popo'; nearest: 'pope'"),
        (["pope", "--annotations", "x", "--variant", "f2"], "unknown variant of pope 'f2'; nearest: 'f1'"),
        (["pope", "--annotations", "nowhere.json"], "nowhere.json: no such file"),
        (["pope"], "nothing to do; give --annotations to score, or --submission"),
        (["gqa", "--submission", "x.json"], "no server takes its answers"),
        (["vqa", "--submission", "x.json"], "needs the official questions: --questions PATH"),
        (["mmvet", "--annotations", "x", "--variant", "house"], "no such file"),
    ],
)
def test_a_wrong_command_is_one_line_and_exit_code_2(
    said: Path, capsys: pytest.CaptureFixture[str], words: list[str], fault: str
) -> None:
    assert run(words[0], "--answers", said, *words[1:]) == 2
    out, err = capsys.readouterr()
    assert fault in err
    assert (out, err.count("\n")) == ("", 1)


def test_missing_answers_are_scored_where_the_rule_says_how_and_only_if_asked_to(
    tmp_path: Path, pope: Path, said: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    problem = {"question": "?", "choices": ["x", "y"], "answer": 0, "split": "test"}
    (tmp_path / "problems.json").write_text(json.dumps({"1": problem, "2": problem}))
    lines(said, [{"question_id": "1", "prompt": "?", "text": "A"}])
    words = ["scienceqa", "--answers", said, "--annotations", tmp_path / "problems.json", "--variant", "all"]
    assert run(*words) == 2
    assert run(*words, "--allow-missing", "--out", tmp_path / "scores.json") == 0
    assert json.loads((tmp_path / "scores.json").read_text())["score"] == 50
    capsys.readouterr()
    lines(said, [{"question_id": 1, "prompt": "Is there?", "text": "A"}])
    assert run("pope", "--answers", said, "--annotations", pope, "--allow-missing") == 2
    assert "no rule says what a missing answer counts as" in capsys.readouterr().err


def test_the_upload_file_needs_no_annotations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = {
        "data_subtype": "test2015",
        "questions": [{"question_id": n, "question": "?", "image_id": 1} for n in (1, 2)],
    }
    (tmp_path / "questions.json").write_text(json.dumps(asked))
    answers = lines(tmp_path / "answers.jsonl", [{"question_id": 1, "prompt": "?", "text": "Two."}])
    words = ["vqa", "--answers", answers, "--questions", tmp_path / "questions.json"]
    assert run(*words, "--submission", tmp_path / "upload.json") == 0
    upload = [{"question_id": 1, "answer": "2"}, {"question_id": 2, "answer": ""}]
    assert json.loads((tmp_path / "upload.json").read_text()) == upload
    assert "wrote" in capsys.readouterr().out


def test_a_judged_benchmark_asks_its_judge_once_and_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"imagename": "0.jpg", "question": "?", "answer": "4", "capability": ["ocr"]}
    (tmp_path / "mm-vet.json").write_text(json.dumps({"v1_0": row}))
    answers = lines(tmp_path / "answers.jsonl", [{"question_id": 0, "prompt": "?", "text": "four"}])
    words = ["mmvet", "--answers", answers, "--annotations", tmp_path, "--variant", "house"]
    out = tmp_path / "scores.json"
    with judge_server(["0.8"]) as server:
        monkeypatch.setenv("TINYLLAVA_JUDGE_URL", server.url)
        monkeypatch.setenv("TINYLLAVA_JUDGE_MODEL", "local-judge")
        for _ in range(2):
            assert run(*words, "--out", out) == 0
        assert len(server.asked) == 1
    told = json.loads(out.read_text())
    assert (told["score"], told["variant"]) == (pytest.approx(80), "house")
    assert told["judge"].startswith("local-judge (reported judge-2026), prompts ")
    assert f"judge: {told['judge']}" in capsys.readouterr().out


def test_the_benchmarks_own_format_is_recognised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"question": "?", "imageId": "n", "answer": "dog", "semantic": []}
    row |= {"types": {"structural": "query", "semantic": "obj"}}
    (tmp_path / "gqa.json").write_text(json.dumps({"1": row}))
    (tmp_path / "predictions.json").write_text(json.dumps([{"questionId": "1", "prediction": "dog"}], indent=1))
    words = ["gqa", "--answers", tmp_path / "predictions.json", "--annotations", tmp_path / "gqa.json"]
    assert run(*words, "--out", tmp_path / "scores.json") == 0
    told = json.loads((tmp_path / "scores.json").read_text())
    assert (told["score"], told["prompt_sha256"]) == (100, None)
    assert capsys.readouterr().err == ""
