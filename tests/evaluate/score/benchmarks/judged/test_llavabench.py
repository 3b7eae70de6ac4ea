"""LLaVA-Bench's request, its parse rule and its relative score, against a replaying judge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from judge_server import judge_server

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.questions import Files, Question
from tinyllava_core.evaluate.score.benchmarks.judged.llavabench import LLAVABENCH, SYSTEM, parse
from tinyllava_core.evaluate.score.judge import Judge
from tinyllava_core.evaluate.score.scoring import Scored, score


def lines(path: Path, rows: list[dict]) -> None:
    path.write_text("\n".join(map(json.dumps, rows)))


def write(folder: Path, categories: list[str]) -> Path:
    asked = [
        {"question_id": n, "image": f"{n % 2}.jpg", "category": category, "text": f"What is {n}?"}
        for n, category in enumerate(categories)
    ]
    lines(folder / "questions.jsonl", asked)
    lines(folder / "context.jsonl", [{"image": "0.jpg", "caption": "a cat"}, {"image": "1.jpg", "caption": ["a", "b"]}])
    lines(folder / "answers_gpt4.jsonl", [{"question_id": row["question_id"], "text": "reference"} for row in asked])
    rules = {f"llava_bench_{name}": {"prompt": f"Judge {name}.", "role": "Assistant"} for name in ("conv", "complex")}
    (folder / "rule.json").write_text(json.dumps(rules))
    return folder


def read(path: Path) -> list[Question]:
    return LLAVABENCH.variant(None).read(Files(annotations=path))


def judged(tmp_path: Path, url: str, questions: list[Question]) -> Scored:
    judge = Judge(url, "gpt-4-0314", None, tmp_path / "judge.jsonl", wait_s=0.001)
    return score(LLAVABENCH, None, questions, {one.question_id: f"model {one.question_id}" for one in questions}, judge)


@pytest.mark.parametrize(
    ("reply", "pair"),
    [
        ("8 9\nBecause", (8, 9)),
        ("8,9", (8, 9)),
        ("7.5 6", (7.5, 6)),
        ("8, 9", None),
        ("8 9 ", None),
        ("8/10 9", None),
        ("8", None),
        ("8 9 10", None),
        ("\n8 9", None),
        ("", None),
    ],
)
def test_the_first_line_must_be_exactly_two_numbers(reply: str, pair: tuple | None) -> None:
    assert parse(reply) == pair


def test_the_request_lays_out_context_question_both_answers_and_the_rule(tmp_path: Path) -> None:
    with judge_server(["8 4", "5 5"]) as server:
        judged(tmp_path, server.url, read(write(tmp_path, ["conv", "complex"])))
        first, second = server.asked
    assert first["messages"][0] == {"role": "system", "content": SYSTEM}
    assert first["messages"][1]["content"] == (
        "[Context]\na cat\n\n[Question]\nWhat is 0?\n\n[Assistant 1]\nreference\n\n[End of Assistant 1]\n\n"
        "[Assistant 2]\nmodel 0\n\n[End of Assistant 2]\n\n[System]\nJudge conv.\n\n"
    )
    assert second["messages"][1]["content"].startswith("[Context]\na\nb\n\n")
    assert (first["temperature"], first["max_tokens"], first["model"]) == (0.2, 1024, "gpt-4-0314")


def test_the_score_is_relative_and_unread_pairs_stay_in_the_means(tmp_path: Path) -> None:
    with judge_server(["8 4", "10 9", "8, 9", "8 10"]) as server:
        found = judged(tmp_path, server.url, read(write(tmp_path, ["conv", "conv", "complex", "complex"])))
    # models 4 + 9 - 1 + 10 = 22, references 8 + 10 - 1 + 8 = 25
    assert (found.metric, found.score) == ("relative", pytest.approx(88))
    assert found.value("model.all") == pytest.approx(55)
    assert found.value("reference.all") == pytest.approx(62.5)
    assert found.value("relative.conv") == pytest.approx(100 * 13 / 18)
    assert found.value("relative.complex") == pytest.approx(100 * 9 / 7)
    assert [item.counts for item in found.items] == [(4, 8), (9, 10), (-1, -1), (10, 8)]
    assert (found.num_unparsed, found.items[2].parsed) == (1, "-1 -1")


def test_both_means_are_rounded_to_three_places_before_they_are_divided(tmp_path: Path) -> None:
    """`summarize_gpt_review.py`: 20 / 3 is 6.667, 23 / 3 is 7.667; unrounded the ratio were 86.9565, not 86.9571."""
    with judge_server(["7 6", "8 6", "8 8"]) as server:
        found = judged(tmp_path, server.url, read(write(tmp_path, ["conv"] * 3)))
    assert found.score == pytest.approx(86.957088, abs=1e-6)
    assert (found.value("model.all"), found.value("reference.conv")) == (pytest.approx(66.67), pytest.approx(76.67))


def test_without_any_grade_both_sides_are_minus_one_and_a_reference_of_nothing_is_worth_nothing(tmp_path: Path) -> None:
    for name, replies, relative in (("unread", ["good", "bad"], 100), ("zero", ["0 5", "0 9"], 0)):
        (tmp_path / name).mkdir()
        with judge_server(replies) as server:
            found = judged(tmp_path / name, server.url, read(write(tmp_path / name, ["conv", "conv"])))
        assert found.score == relative


def test_a_file_that_is_missing_or_lacks_a_row_is_told(tmp_path: Path) -> None:
    write(tmp_path, ["conv"])
    (tmp_path / "context.jsonl").write_text('{"image": "other.jpg", "caption": "x"}')
    with pytest.raises(BadInput, match="line 1: no context, reference answer or rule"):
        read(tmp_path)
    (tmp_path / "rule.json").unlink()
    with pytest.raises(BadInput, match=r"no rule\.json; expected the benchmark's three files"):
        read(tmp_path)
