"""MM-Vet's requests, its retries and its parse rule, against a replaying judge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from judge_server import judge_server

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.answers import read_answers
from tinyllava_core.evaluate.questions.questions import Files, Question
from tinyllava_core.evaluate.score.benchmarks.judged.mmvet import (
    ASKS_FOR_DIGIT,
    HOUSE_PROMPT,
    MMVET,
    join,
    own_answers,
    parse,
    submit,
)
from tinyllava_core.evaluate.score.judge import Judge
from tinyllava_core.evaluate.score.scoring import Scored, score


def write(folder: Path, *answers: str) -> Path:
    rows = {
        f"v1_{n}": {
            "imagename": f"{n}.jpg",
            "question": "How many?",
            "answer": answer,
            "capability": ["rec", "ocr"] if n == 0 else ["ocr"],
            "imagesource": "x",
        }
        for n, answer in enumerate(answers)
    }
    (folder / "mm-vet.json").write_text(json.dumps(rows))
    (folder / "prompt.txt").write_text("Few shots\n")
    return folder


def read(path: Path, variant: str | None = None) -> list[Question]:
    return MMVET.variant(variant).read(Files(annotations=path))


def judged(tmp_path: Path, url: str, questions: list[Question], said: dict, variant: str | None = None) -> Scored:
    judge = Judge(url, "gpt-4-0613", None, tmp_path / "judge.jsonl", wait_s=0.001)
    return score(MMVET, variant, questions, said, judge)


@pytest.mark.parametrize(
    ("reply", "grade"),
    [("0.5", 0.5), ("1", 1.0), ("0.7 because", 0.7), ("0.9\n", 0.9), ("1.1", None), ("-0.1", None), ("", None),
     (" 0.5", None), ("0,5", None), ("good", None), ("nan", None)],
)  # fmt: skip
def test_a_reply_is_what_stands_before_the_first_space(reply: str, grade: float | None) -> None:
    assert parse(reply) == grade


def test_the_request_is_one_message_with_the_prompt_and_a_row(tmp_path: Path) -> None:
    questions = read(write(tmp_path, "4<AND>5<OR>6"))
    assert (questions[0].image, questions[0].text) == ("0.jpg", "How many?")
    with judge_server(["0.5"]) as server:
        found = judged(tmp_path, server.url, questions, {"v1_0": "four | five"})
        assert found.score == 50
        (request,) = server.asked
    assert request["messages"] == [
        {"role": "user", "content": "Few shots\n\nHow many? | 4 <AND> 5 <OR> 6 | four | five | "}
    ]
    assert (request["temperature"], request["max_tokens"], request["model"]) == (0, 3, "gpt-4-0613")


def test_a_reply_that_is_no_grade_is_asked_for_again_warmer_and_warmer(tmp_path: Path) -> None:
    with judge_server(["good", "well", "0.3"]) as server:
        found = judged(tmp_path, server.url, read(write(tmp_path, "4")), {"v1_0": "x"})
        assert (found.score, found.items[0].parsed, found.num_unparsed) == (30, "0.3", 0)
        assert [request["temperature"] for request in server.asked] == [0, 0, 0.5]
        asked = [request["messages"][0]["content"] for request in server.asked]
    assert asked[1] == asked[2] == asked[0] + ASKS_FOR_DIGIT


def test_after_five_retries_the_grade_is_0_and_the_last_reply_is_not_looked_at(tmp_path: Path) -> None:
    with judge_server(["bad"] * 5 + ["1.0"]) as server:
        found = judged(tmp_path, server.url, read(write(tmp_path, "4")), {"v1_0": "x"})
        assert [request["temperature"] for request in server.asked] == [0, 0, 0.5, 1, 1.5, 2]
    assert (found.score, found.items[0].parsed, found.num_unparsed) == (0, "none", 1)


def test_scores_are_by_capability_and_combination(tmp_path: Path) -> None:
    with judge_server(["1.0", "0.5"]) as server:
        found = judged(tmp_path, server.url, read(write(tmp_path, "4", "5")), {"v1_0": "x", "v1_1": "y"})
    assert {one.name: one.value for one in found.subscores} == {
        "capability.ocr": 75,
        "capability.rec": 100,
        "combination.ocr": 50,
        "combination.ocr_rec": 100,
    }
    assert found.score == 75


def test_five_runs_ask_five_times_and_give_each_runs_score(tmp_path: Path) -> None:
    with judge_server(["1.0", "0.9", "0.8", "0.7", "0.6"]) as server:
        found = judged(tmp_path, server.url, read(write(tmp_path, "4")), {"v1_0": "x"}, "official-5")
        assert len(server.asked) == 5
    assert found.score == pytest.approx(80)
    assert [found.value(f"run.{n}") for n in range(1, 6)] == pytest.approx([100, 90, 80, 70, 60])


def test_a_killed_scoring_asks_only_what_is_missing(tmp_path: Path) -> None:
    questions = read(write(tmp_path, "4", "5", "6"))
    said = {"v1_0": "x", "v1_1": "y", "v1_2": "z"}
    with judge_server(["0.1", "0.2", 400]) as server, pytest.raises(BadInput, match="status 400"):
        judged(tmp_path, server.url, questions, said)
    with judge_server(["0.3"]) as server:
        found = judged(tmp_path, server.url, questions, said)
        assert len(server.asked) == 1
    assert [item.score for item in found.items] == [0.1, 0.2, 0.3]


def test_the_official_prompt_is_read_from_a_file_and_ours_is_another_variant(tmp_path: Path) -> None:
    (write(tmp_path, "4") / "prompt.txt").unlink()
    with pytest.raises(BadInput, match=r"prompt\.txt: no such file; variant official needs MM-Vet's few-shot prompt"):
        read(tmp_path)
    (one,) = read(tmp_path, "house")
    assert one.context.startswith(HOUSE_PROMPT + "\nHow many? | 4 | ")
    assert len(HOUSE_PROMPT.splitlines()) == 12  # two lines of rules, a blank, a head of two, seven rows


def test_llavas_whole_numbers_and_the_official_names_are_the_same_ids(tmp_path: Path) -> None:
    questions = read(write(tmp_path, "4", "5"))
    path = tmp_path / "answers.jsonl"
    path.write_text('{"question_id": 0, "text": "a"}\n{"question_id": "v1_1", "text": "b"}\n')
    assert read_answers(path, join(questions)) == {"v1_0": "a", "v1_1": "b"}
    submit({"v1_1": "b", "v1_0": "a"}, tmp_path, tmp_path / "upload.json")
    assert json.loads((tmp_path / "upload.json").read_text()) == {"v1_0": "a", "v1_1": "b"}
    assert own_answers(tmp_path / "upload.json", questions) == {"v1_0": "a", "v1_1": "b"}
    with pytest.raises(BadInput, match="1 of 2 questions have none"):
        submit({"v1_1": "b"}, tmp_path, tmp_path / "upload.json")
