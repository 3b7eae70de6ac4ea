"""Our answer files as the authors' scripts read them: the ids, prompts and order that each of them looks for.

What each script looks for was read in it, and tried with it once: docs/other-harnesses.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmark_samples import SAMPLES

from tinyllava_core.evaluate.answer.journal import Journal
from tinyllava_core.evaluate.questions.questions import Files
from tinyllava_core.evaluate.score.benchmarks import BENCHMARKS, benchmark
from tinyllava_core.evaluate.score.score_file import read_answer_file
from tinyllava_core.evaluate.score.scoring import score

SHORT = "\nAnswer the question using a single word or phrase."
LETTER = "\nAnswer with the option's letter from the given choices directly."
PLAIN = sorted(name for name, row in BENCHMARKS.items() if row.variant(None).mark)


def left(folder: Path, name: str) -> tuple[Path, list[dict[str, Any]]]:
    """Answer a sample's questions with its right answers, last question first."""
    sample, row = SAMPLES[name](folder / name), benchmark(name)
    questions = row.variant(None).read(Files(annotations=sample.annotations))
    given = read_answer_file(row, sample.answers, questions).texts
    path = folder / "ours.jsonl"
    journal = Journal(path, questions, "model")
    for question in questions[::-1]:
        journal.add([question], [given[question.question_id]])
    journal.close()
    return path, [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("vqa", [7]),  # convert_vqav2_for_submission.py: `x['question_id'] not in results`, the official numbers
        ("gqa", ["201"]),  # GQA's eval.py: keys of the questions file, texts
        ("scienceqa", ["5"]),  # eval_science_qa.py: pids of pid_splits.json, texts
        ("textvqa", ["0a"]),  # eval_textvqa.py: annotations[(result['question_id'], question)], the picture's id
        ("mmbench", [3, 1_000_003]),  # convert_mmbench_for_submission.py: df['index'] == pred['question_id']
        ("mmvet", [0]),  # convert_mmvet_for_eval.py: f'v1_{qid}'
        ("llavabench", [0]),  # eval_gpt_review_bench.py: zipped with the questions, by order
    ],
)
def test_the_ids_are_those_that_the_scripts_look_up(tmp_path: Path, name: str, ids: list[Any]) -> None:
    assert [row["question_id"] for row in left(tmp_path, name)[1]] == ids


def test_pope_has_llavas_ids(tmp_path: Path) -> None:
    """eval_pope.py: questions[x['question_id']]['category'], of llava_pope_test.jsonl."""
    for split in ("adversarial", "popular", "random"):
        (tmp_path / f"coco_pope_{split}.json").write_text(
            json.dumps({"question_id": 1, "image": "a.jpg", "text": "?", "label": "no"}) + "\n"
        )
    questions = benchmark("pope").variant(None).read(Files(annotations=tmp_path))
    assert [one.question_id for one in questions] == [1, 10_000_001, 20_000_001]


def test_mme_has_the_pictures_path_twice_and_the_bare_question(tmp_path: Path) -> None:
    """convert_answer_to_mme.py: the task before the first `/`, the file behind the last, the official question by prompt."""
    rows = left(tmp_path, "mme")[1]
    scene = [row for row in rows if row["question_id"].startswith("scene/")]
    assert [row["question_id"] for row in scene] == ["scene/a.jpg"] * 2
    assert [row["prompt"] for row in scene] == [f"A cat?{SHORT}", f"A dog?{SHORT}"]


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        ("textvqa", f"What brand?{SHORT}"),  # eval_textvqa.py: two lines, or three with the OCR tokens
        ("scienceqa", f"<image>\nContext: Look.\nWhich?\nA. x\nB. y{LETTER}"),  # IMG-Accuracy: '<image>' in the prompt
    ],
)
def test_the_prompts_are_those_that_the_scripts_take_apart(tmp_path: Path, name: str, prompt: str) -> None:
    assert [row["prompt"] for row in left(tmp_path, name)[1]] == [prompt]


@pytest.mark.parametrize("name", PLAIN)
def test_our_own_answer_file_scores_as_the_answers_did(tmp_path: Path, name: str) -> None:
    path, _ = left(tmp_path, name)
    row, sample = benchmark(name), SAMPLES[name](tmp_path / "again" / name)
    questions = row.variant(None).read(Files(annotations=sample.annotations))
    given = read_answer_file(row, path, questions)
    assert score(row, None, questions, given.texts).score == pytest.approx(sample.right)
    assert len(given.prompts) == len(questions)
