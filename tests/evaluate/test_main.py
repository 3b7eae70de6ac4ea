"""The evaluation process: a whole job, a killed one, a wrong one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tinyllava_core import job, recipe
from tinyllava_core.data.places import ImagePlaces
from tinyllava_core.evaluate.__main__ import main, model_id
from tinyllava_core.results import EvaluateResult

NUM_QUESTIONS = 12


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    rows = [
        {
            "question_id": number,
            "image": f"{number // 2}.png",
            "text": f"Is there {'a dog ' * (number % 3)}in the image?",
            "label": "yes" if number % 2 else "no",
        }
        for number in range(NUM_QUESTIONS)
    ]
    path = tmp_path / "pope.json"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def write_job(out: Path, checkpoint: Path, annotations: Path, images: Path, **more: object) -> Path:
    """Write a job file beside its output folder."""
    settings = {"evaluate.precision": "fp32", "evaluate.batch_size": 2, "launch.device": "cpu"}
    todo = job.EvaluateJob.parse(
        {
            "recipe": recipe.load("toy", settings),
            "checkpoint": checkpoint,
            "benchmark": "test-pope",
            "scorer": "pope",
            "variant": "accuracy",
            "annotations": annotations,
            "images": ImagePlaces.one(images),
            "blind": False,
            "out": out,
            **more,
        },
        "test",
    )
    path = out.with_suffix(".yaml")
    todo.write(path)
    return path


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_job_leaves_answers_items_subscores_and_its_result(
    tmp_path: Path, checkpoint_folder: Path, annotations: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([str(write_job(out, checkpoint_folder, annotations, images))]) == 0
    lines = capsys.readouterr().out.splitlines()
    told = [progress for line in lines if (progress := job.Progress.parse(line))]
    assert [one.done for one in told] == [2, 4, 6, 8, 10, 12]
    assert lines[-1].startswith("evaluate test-pope: accuracy ")

    result = job.read_result(out, "evaluate", EvaluateResult)
    answers, items = rows(out / "answers.jsonl"), rows(out / "items.jsonl")
    assert (result.benchmark, result.scorer, result.blind, result.metric) == ("test-pope", "pope", False, "accuracy")
    assert result.num_questions == NUM_QUESTIONS == len(answers) == len(items)
    assert [row["question_id"] for row in answers] == list(range(NUM_QUESTIONS))
    assert answers[0]["prompt"] == "Is there in the image?\nAnswer the question using a single word or phrase."
    assert {row["model_id"] for row in answers} == {"0123456789abcdef"}
    assert list(items[0]) == (
        ["question_id", "image", "answer", "parsed", "score", "cluster", "facets", "counts", "unparsed"]
    )
    assert [row["answer"] for row in items] == [row["text"] for row in answers]
    assert result.score == pytest.approx(100 * sum(row["score"] for row in items) / NUM_QUESTIONS)
    subscores = {row["name"]: row["value"] for row in rows(out / "subscores.jsonl")}
    assert 0 <= subscores["mean_f1"] == subscores["f1"] <= 100  # one split only
    assert (result.variant, result.judge, result.num_clusters, result.max_score) == ("accuracy", None, 6, 100)
    assert result.ci_low <= result.score <= result.ci_high

    assert main([str(out.with_suffix(".yaml"))]) == 0  # nothing left to ask: the same result, and nobody is asked
    assert job.read_result(out, "evaluate", EvaluateResult) == result
    assert "@progress" not in capsys.readouterr().out


def test_blind_needs_no_pictures(tmp_path: Path, checkpoint_folder: Path, annotations: Path) -> None:
    out = tmp_path / "out"
    path = write_job(out, checkpoint_folder, annotations, tmp_path / "nowhere", blind=True)
    assert main([str(path)]) == 0
    by_text: dict[str, set[str]] = {}
    for row in rows(out / "answers.jsonl"):
        by_text.setdefault(row["prompt"], set()).add(row["text"])
    assert [len(texts) for texts in by_text.values()] == [1, 1, 1]
    assert job.read_result(out, "evaluate", EvaluateResult).blind


def test_a_killed_evaluation_goes_on_and_answers_each_question_once(
    tmp_path: Path, checkpoint_folder: Path, annotations: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    path = write_job(out, checkpoint_folder, annotations, images)
    command = [sys.executable, "-m", "tinyllava_core.evaluate", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(job.PROGRESS_MARK):
                process.kill()
                break
    assert process.returncode == -signal.SIGKILL
    answers = out / "answers.jsonl"
    kept = answers.read_bytes()
    kept = kept[: kept.rfind(b"\n") + 1]
    num_kept = kept.count(b"\n")
    assert 0 < num_kept < NUM_QUESTIONS
    answers.write_bytes(kept + b'{"question_id": 11, "prompt": "Is th')  # as if it had died while writing

    assert main([str(path)]) == 0
    said = capsys.readouterr().out
    assert f"going on after {num_kept} of {NUM_QUESTIONS} questions" in said
    assert said.count(job.PROGRESS_MARK) == -(-(NUM_QUESTIONS - num_kept) // 2)

    assert [row["question_id"] for row in rows(answers)] == list(range(NUM_QUESTIONS))
    assert set(kept.splitlines()) <= set(answers.read_bytes().splitlines())
    whole = tmp_path / "whole"
    assert main([str(write_job(whole, checkpoint_folder, annotations, images))]) == 0
    assert (whole / "answers.jsonl").read_bytes() == answers.read_bytes()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"scorer": "popo"}, "error: unknown scorer 'popo'; nearest: 'pope'. Known: "),
        ({"expected": 13}, "pope.json: 12 questions, the manifest expects 13; correct `count` or the file"),
        ({"annotations": Path("nowhere.json")}, "error: nowhere.json: no such file"),
        (
            {"images": Path("nowhere")},
            "error: * -> nowhere: 6 of 6 pictures of the benchmark are not there (the first: 0.png)",
        ),
        ({"checkpoint": Path("nowhere")}, "error: nowhere: not a checkpoint"),
        ({"scorer": "textvqa", "variant": "ocr"}, "line 2: not JSON"),
        ({"variant": "f2"}, "error: unknown variant of pope 'f2'; nearest: 'f1'. Known: accuracy, f1"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path: Path,
    checkpoint_folder: Path,
    annotations: Path,
    images: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict,
    fault: str,
) -> None:
    given = {"checkpoint": checkpoint_folder, "annotations": annotations, "images": images}
    given |= {key: value for key, value in change.items() if key in given}
    more = {key: value for key, value in change.items() if key in ("scorer", "variant", "expected")}
    assert main([str(write_job(tmp_path / "out", **given, **more))]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: ")
    assert fault in errors
    assert errors.count("\n") == 1


def test_a_split_whose_answers_are_not_public_is_told_before_anything_is_asked(
    tmp_path: Path, checkpoint_folder: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {
        "questions": [{"question_id": 1, "question": "What is it?", "image_id": 1}],
        "data_subtype": "test-dev2015",
    }
    path = tmp_path / "questions.json"
    path.write_text(json.dumps(asked))
    words = [str(write_job(tmp_path / "out", checkpoint_folder, path, images, scorer="vqa", variant=None))]
    assert main(words) == 2
    assert "those of this split are not public" in capsys.readouterr().err
    assert not (tmp_path / "out" / "answers.jsonl").exists()


def test_a_wrong_job_file_is_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("usage: ")
    assert main([str(tmp_path / "job.yaml")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_a_checkpoint_is_named_by_its_artifact() -> None:
    assert model_id(Path("artifacts/sft/1234/checkpoint")) == "1234"
    assert model_id(Path("models/mine")) == "mine"
