"""Answer files as they lie about: LLaVA's ids, other splits, other orders, odd bytes. Joined right or refused, never scored wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tinyllava_core import cli

SHORT = "\nAnswer the question using a single word or phrase."
SPLITS = {"adversarial": 0, "random": 10_000_000, "popular": 20_000_000}


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(*words: object) -> int:
    return cli.main(["score", *map(str, words)])


def told(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def pope(folder: Path, num: int = 4) -> Path:
    """Write three splits; the same ids in each, other things asked about."""
    folder.mkdir()
    for split in SPLITS:
        rows = [
            {"question_id": n, "image": f"{n}.jpg", "text": f"Is there a {split} {n}?", "label": ("yes", "no")[n % 2]}
            for n in range(1, num + 1)
        ]
        lines(folder / f"coco_pope_{split}.json", rows)
    return folder


def asked(num: int = 4) -> list[dict[str, Any]]:
    """LLaVA's question file: adversarial as numbered, random from ten million on, popular from twenty."""
    return [
        {
            "question_id": offset + n,
            "image": f"{n}.jpg",
            "text": f"Is there a {split} {n}?{SHORT}",
            "category": split,
        }
        for split, offset in SPLITS.items()
        for n in range(1, num + 1)
    ]


def said(rows: list[dict[str, Any]], text: str = "") -> list[dict[str, Any]]:
    """Right answers: the odd ones are no."""
    right = [("Yes", "No")[row["question_id"] % 2] for row in rows]
    return [
        {"question_id": row["question_id"], "prompt": row["text"], "text": text or one}
        for row, one in zip(rows, right, strict=True)
    ]


def test_llavas_pope_answers_are_scored_by_its_ids_in_any_order(tmp_path: Path) -> None:
    home, out = pope(tmp_path / "coco"), tmp_path / "scores.json"
    answers = lines(tmp_path / "merge.jsonl", said(asked())[::-1])
    assert run("pope", "--answers", answers, "--annotations", home, "--out", out) == 0
    assert (told(out)["score"], told(out)["num_questions"]) == (100, 12)


def test_popes_ids_through_a_question_file_are_that_files(tmp_path: Path) -> None:
    home, out = pope(tmp_path / "coco"), tmp_path / "scores.json"
    rows = [{**row, "question_id": row["question_id"] % 100 + 1000 * place} for place, row in enumerate(asked())]
    questions = lines(tmp_path / "questions.jsonl", rows)
    answers = lines(tmp_path / "answers.jsonl", said(rows))
    assert run("pope", "--answers", answers, "--annotations", home) == 2
    assert run("pope", "--answers", answers, "--annotations", home, "--questions", questions, "--out", out) == 0
    assert told(out)["score"] == 100


def test_a_question_file_of_another_release_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = pope(tmp_path / "coco")
    questions = lines(tmp_path / "questions.jsonl", [{**asked()[0], "text": "Is there a fork?"}])
    answers = lines(tmp_path / "answers.jsonl", said(asked()))
    assert run("pope", "--answers", answers, "--annotations", home, "--questions", questions) == 2
    assert "questions.jsonl, line 1: 0 labels for 'Is there a fork?' about 1.jpg" in capsys.readouterr().err


@pytest.mark.parametrize("split", SPLITS)
def test_one_split_is_scored_with_llavas_ids_and_with_its_own(tmp_path: Path, split: str) -> None:
    home, out = pope(tmp_path / "coco"), tmp_path / "scores.json"
    rows = [row for row in asked() if row["category"] == split]
    for ids in (rows, [{**row, "question_id": row["question_id"] - SPLITS[split]} for row in rows]):
        answers = lines(tmp_path / "answers.jsonl", said(ids))
        assert run("pope", "--answers", answers, "--annotations", home / f"coco_pope_{split}.json", "--out", out) == 0
        assert told(out)["score"] == 100


def test_answers_to_another_split_of_the_same_ids_are_refused_by_their_prompts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = pope(tmp_path / "coco")
    answers = lines(tmp_path / "answers.jsonl", said(asked()[:4]))  # adversarial
    assert run("pope", "--answers", answers, "--annotations", home / "coco_pope_popular.json") == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "line 1: question_id 1 is the answer to 'Is there a adversarial 1?" in err
    assert "the annotations ask 'Is there a popular 1?' under this id" in err


@pytest.mark.parametrize(
    "prompt",
    [
        "Is there a random 1?",
        "Is there a random 1?" + SHORT,
        "<image>\nIs there a random 1?\nPlease answer yes or no.",
        "A chat between a curious user and ... USER: <image>\nIs there  a random 1? ASSISTANT:",
        "is there a random 1?",
    ],
)
def test_what_stands_around_the_question_in_a_prompt_does_not_matter(tmp_path: Path, prompt: str) -> None:
    home = pope(tmp_path / "coco", num=1)
    answers = lines(tmp_path / "answers.jsonl", [{"question_id": 1, "prompt": prompt, "text": "No"}])
    assert run("pope", "--answers", answers, "--annotations", home / "coco_pope_random.json") == 0


def test_an_id_may_be_written_as_text_or_as_number(tmp_path: Path) -> None:
    home, out = pope(tmp_path / "coco"), tmp_path / "scores.json"
    answers = lines(tmp_path / "a.jsonl", [{**row, "question_id": str(row["question_id"])} for row in said(asked())])
    assert run("pope", "--answers", answers, "--annotations", home, "--out", out) == 0
    assert told(out)["score"] == 100
    row = {"question": "What?", "imageId": "n", "answer": "dog", "semantic": []}
    row |= {"types": {"structural": "query", "semantic": "obj"}}
    (tmp_path / "gqa.json").write_text(json.dumps({"201": row}))
    answers = lines(tmp_path / "g.jsonl", [{"question_id": 201, "prompt": "What?", "text": "Dog."}])
    assert run("gqa", "--answers", answers, "--annotations", tmp_path / "gqa.json") == 0


def test_gqa_passes_over_answers_to_questions_that_are_not_balanced_and_counts_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"question": "What?", "imageId": "n", "answer": "dog", "semantic": []}
    row |= {"types": {"structural": "query", "semantic": "obj"}}
    (tmp_path / "gqa.json").write_text(json.dumps({"1": row, "2": {**row, "isBalanced": False}}))
    rows = [{"question_id": n, "prompt": "What?", "text": "dog"} for n in ("1", "2", "77")]
    words = ["gqa", "--answers", lines(tmp_path / "a.jsonl", rows), "--annotations", tmp_path / "gqa.json"]
    assert run(*words, "--out", tmp_path / "scores.json") == 0
    assert (told(tmp_path / "scores.json")["num_ignored"], told(tmp_path / "scores.json")["num_questions"]) == (2, 1)
    assert "2 answers to other questions passed over" in capsys.readouterr().out
    rows = [{"question_id": n, "prompt": "What?", "text": "dog"} for n in ("2", "77")]
    lines(tmp_path / "a.jsonl", rows)
    assert run(*words) == 2  # the official script raises: a balanced question has no prediction


def textvqa(folder: Path) -> Path:
    rows = [
        {"question_id": 34602 + n, "image_id": "0a", "question": f"What brand {n}?", "answers": ["nous"] * 10}
        for n in (0, 1)
    ]
    path = folder / "TextVQA_0.5.1_val.json"
    path.write_text(json.dumps({"data": rows}))
    return path


@pytest.mark.parametrize(("ocr", "variant"), [(True, "ocr"), (False, "no-ocr")])
def test_textvqas_variant_is_told_from_the_prompts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ocr: bool, variant: str
) -> None:
    tokens = "\nReference OCR token: NOUS" if ocr else ""
    rows = [
        {"question_id": "0a", "prompt": f"What brand {n}?{tokens}{SHORT}", "text": ("Nous", "x")[n]} for n in (0, 1)
    ]
    answers, out = lines(tmp_path / "a.jsonl", rows), tmp_path / "scores.json"
    words = ["textvqa", "--answers", answers, "--annotations", textvqa(tmp_path)]
    assert run(*words, "--out", out) == 0
    assert (told(out)["variant"], told(out)["score"]) == (variant, 50)
    other = {"ocr": "no-ocr", "no-ocr": "ocr"}[variant]
    assert run(*words, "--variant", other) == 2
    assert f"its prompts are those of variant {variant}, not {other}" in capsys.readouterr().err
    rows[0]["prompt"] = f"What brand 0?\nReference OCR token: NOUS{SHORT}"
    rows[1]["prompt"] = f"What brand 1?{SHORT}"
    lines(answers, rows)
    assert run(*words) == 2
    assert "1 of 2 prompts list OCR tokens" in capsys.readouterr().err


def test_mmmu_without_its_options_never_reads_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "validation_Math_1"
    annotations = tmp_path / "answer_dict_val.json"
    annotations.write_text(json.dumps({name: {"question_type": "multiple-choice", "ground_truth": "B"}}))
    answers = lines(tmp_path / "a.jsonl", [{"question_id": name, "text": "B"}])
    assert run("mmmu", "--answers", answers, "--annotations", annotations) == 0
    lines(answers, [{"question_id": name, "text": "The answer is B."}])
    assert run("mmmu", "--answers", answers, "--annotations", annotations) == 2
    assert "anns_for_eval.json with --questions" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("out", "fault"),
    [
        ("answers.jsonl", "is read, and would be written over"),
        ("coco/coco_pope_random.json", "is read, and would be written over"),
        ("coco", "is a folder; name the file to write"),
        ("answers.jsonl/scores.json", "its folder cannot be made: File exists"),
        ("deep/er/scores.json", None),
    ],
)
def test_a_place_that_cannot_be_written_to_is_said_before_anything_is_destroyed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], out: str, fault: str | None
) -> None:
    home = pope(tmp_path / "coco") / "coco_pope_random.json"
    answers = lines(tmp_path / "answers.jsonl", said(asked())[4:8])
    before = answers.read_bytes(), home.read_bytes()
    code = run("pope", "--answers", answers, "--annotations", home, "--out", tmp_path / out)
    assert code == (0 if fault is None else 2)
    assert fault is None or fault in capsys.readouterr().err
    assert (answers.read_bytes(), home.read_bytes()) == before
    assert not list(tmp_path.rglob("*.partial"))


def test_the_items_file_may_not_be_the_answers_either(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = pope(tmp_path / "coco")
    answers = lines(tmp_path / "scores.items.jsonl", said(asked()))
    before = answers.read_bytes()
    assert run("pope", "--answers", answers, "--annotations", home, "--out", tmp_path / "scores.json") == 2
    assert "would be written over" in capsys.readouterr().err
    assert answers.read_bytes() == before


ODD = {
    "half of a character": '{"question_id": 1, "text": "\\ud83d"}',
    "nested too deep": '{"question_id": 1, "text": ' + "[" * 200_000 + "]" * 200_000 + "}",
    "thousands of digits": '{"question_id": ' + "7" * 5000 + ', "text": "x"}',
    "expected int or str": '{"question_id": NaN, "text": "x"}',
    "text = None; expected str": '{"question_id": 1, "text": null}',
}


@pytest.mark.parametrize("fault", ODD)
def test_odd_bytes_in_an_answer_file_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    (tmp_path / "answers.jsonl").write_text(ODD[fault] + "\n")
    home, out = pope(tmp_path / "coco"), tmp_path / "scores.json"
    assert run("pope", "--answers", tmp_path / "answers.jsonl", "--annotations", home, "--out", out) == 2
    printed, err = capsys.readouterr()
    assert (printed, err.count("\n")) == ("", 1)
    assert "answers.jsonl, line 1" in err
    assert fault in err
    assert len(err) < 500
    assert not out.exists()
