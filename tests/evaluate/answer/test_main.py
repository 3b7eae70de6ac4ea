"""The evaluation process: a whole job, a killed one, a wrong one."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from evaluate_job import NUM_QUESTIONS, rows_of, write_job, write_pope
from PIL import Image

from tinyllava_core import job
from tinyllava_core.evaluate.answer.__main__ import main, model_id
from tinyllava_core.evaluate.questions.questions import Question
from tinyllava_core.evaluate.score.benchmarks import BENCHMARKS
from tinyllava_core.evaluate.score.benchmarks.rules.vqa_text import normalise_m4c
from tinyllava_core.evaluate.score.benchmarks.yes_no.pope import POPE
from tinyllava_core.model import checkpoint
from tinyllava_core.results import EvaluateResult


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    return write_pope(tmp_path / "pope.json")


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
    answers, items = rows_of(out / "answers.jsonl"), rows_of(out / "items.jsonl")
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
    subscores = {row["name"]: row["value"] for row in rows_of(out / "subscores.jsonl")}
    assert 0 <= subscores["mean_f1"] == subscores["f1"] <= 100  # one split only
    assert (result.variant, result.judge, result.num_clusters, result.max_score) == ("accuracy", None, 6, 100)
    assert result.ci_low <= result.score <= result.ci_high

    assert main([str(out.with_suffix(".yaml"))]) == 0  # nothing left to ask: the same result, and nobody is asked
    assert job.read_result(out, "evaluate", EvaluateResult) == result
    assert "@progress" not in capsys.readouterr().out


def test_a_question_about_several_pictures_is_asked_with_all_of_them_in_their_order(
    tmp_path: Path, checkpoint_folder: Path, images: Path
) -> None:
    pictures = [("0.png", "1.png"), ("1.png", "0.png"), ("0.png",), ("0.png", "1.png")]
    rows = [
        {"idx": f"val_Jigsaw_{n}", "sub_task": "Jigsaw", "prompt": "Which? (A) x (B) y", "choices": ["x", "y"]}
        | {"answer": "(A)", **{f"image_{place}": name for place, name in enumerate(names, start=1)}}
        for n, names in enumerate(pictures)
    ]
    (tmp_path / "blink.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = {"benchmark": "test-blink", "scorer": "blink", "variant": None}
    path = write_job(tmp_path / "out", checkpoint_folder, tmp_path / "blink.jsonl", images, **words)
    assert main([str(path)]) == 0
    both, swapped, one, again = (row["text"] for row in rows_of(tmp_path / "out" / "answers.jsonl"))
    assert both == again
    assert len({both, swapped, one}) == 3
    assert job.read_result(tmp_path / "out", "evaluate", EvaluateResult).metric == "mean_of_tasks"


def test_blind_needs_no_pictures(tmp_path: Path, checkpoint_folder: Path, annotations: Path) -> None:
    out = tmp_path / "out"
    path = write_job(out, checkpoint_folder, annotations, tmp_path / "nowhere", condition="blind")
    assert main([str(path)]) == 0
    by_text: dict[str, set[str]] = {}
    for row in rows_of(out / "answers.jsonl"):
        by_text.setdefault(row["prompt"], set()).add(row["text"])
    assert [len(texts) for texts in by_text.values()] == [1, 1, 1]
    assert job.read_result(out, "evaluate", EvaluateResult).blind


def test_corrupted_pictures_are_a_condition_of_their_own(
    tmp_path: Path, checkpoint_folder: Path, annotations: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([str(write_job(out, checkpoint_folder, annotations, images, condition="noise-4"))]) == 0
    assert "evaluate test-pope noise-4: accuracy " in capsys.readouterr().out
    result = job.read_result(out, "evaluate", EvaluateResult)
    assert (result.blind, result.corruption, result.severity, result.condition) == (False, "noise", 4, "noise-4")


def test_several_jobs_are_one_process_that_loads_the_checkpoint_once(
    tmp_path: Path, checkpoint_folder: Path, annotations: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures of one name in two folders are two pictures, also to what is remembered of them."""
    turned = tmp_path / "turned"
    turned.mkdir()
    for file in images.iterdir():
        turned_around = Image.open(file).transpose(Image.Transpose.ROTATE_90)
        turned_around.save(turned / file.name)
    kinds = [("seen", images), ("blind", images), ("noise-4", images), ("seen", turned)]

    def jobs(home: Path) -> list[str]:
        home.mkdir()
        return [
            str(write_job(home / str(place), checkpoint_folder, annotations, folder, condition=word))
            for place, (word, folder) in enumerate(kinds)
        ]

    for path in jobs(tmp_path / "alone"):
        assert main([path]) == 0
    loads: list[Path] = []
    load = checkpoint.load
    monkeypatch.setattr(checkpoint, "load", lambda folder, **how: loads.append(folder) or load(folder, **how))
    assert main(jobs(tmp_path / "together")) == 0
    assert loads == [checkpoint_folder]
    for place in map(str, range(len(kinds))):
        for name in ("answers.jsonl", "evaluate.json"):
            assert (tmp_path / "together" / place / name).read_bytes() == (
                tmp_path / "alone" / place / name
            ).read_bytes()
        assert job.read_seconds(tmp_path / "together" / place) > 0


def test_a_job_that_fails_in_the_middle_is_passed_over_and_said_at_the_end(
    tmp_path: Path, checkpoint_folder: Path, annotations: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(images, broken)
    (broken / "3.png").write_bytes(b"no picture")
    paths = [
        write_job(tmp_path / "first", checkpoint_folder, annotations, broken),
        write_job(tmp_path / "second", checkpoint_folder, annotations, images),
    ]
    assert main([*map(str, paths)]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: ")
    assert "3.png" in errors
    assert errors.count("\n") == 1
    assert job.read_result(tmp_path / "second", "evaluate", EvaluateResult).num_questions == NUM_QUESTIONS
    assert not (tmp_path / "first" / "evaluate.json").exists()


def test_jobs_of_two_checkpoints_are_refused(
    tmp_path: Path, checkpoint_folder: Path, annotations: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [
        write_job(tmp_path / name, place, annotations, images)
        for name, place in (("a", checkpoint_folder), ("b", tmp_path / "another"))
    ]
    assert main([*map(str, paths)]) == 2
    assert "error: the jobs are of several checkpoints" in capsys.readouterr().err


def test_a_killed_evaluation_goes_on_and_answers_each_question_once(
    tmp_path: Path, checkpoint_folder: Path, annotations: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    path = write_job(out, checkpoint_folder, annotations, images)
    command = [sys.executable, "-m", "tinyllava_core.evaluate.answer", str(path)]
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

    assert [row["question_id"] for row in rows_of(answers)] == list(range(NUM_QUESTIONS))
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
        ({"condition": "blurr-3"}, "error: unknown condition 'blurr-3'; nearest: 'blur-3'. Known: blind, blur-1, "),
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
    more = {key: value for key, value in change.items() if key in ("scorer", "variant", "expected", "condition")}
    assert main([str(write_job(tmp_path / "out", **given, **more))]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: ")
    assert fault in errors
    assert errors.count("\n") == 1


def test_a_split_whose_answers_are_not_public_is_answered_and_written_as_the_upload_file(
    tmp_path: Path, checkpoint_folder: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """VQA's zip has the questions of test-dev and of all of test2015: the server wants an answer to each of the latter."""
    for name, ids in (("test-dev2015", [11, 13]), ("test2015", [11, 12, 13])):
        rows = [{"question_id": one, "question": "What is it?", "image_id": one} for one in ids]
        file = tmp_path / f"v2_OpenEnded_mscoco_{name}_questions.json"
        file.write_text(json.dumps({"questions": rows, "data_subtype": name}))
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for one in (11, 13):
        (pictures / f"COCO_test2015_{one:012d}.jpg").write_bytes((images / "0.png").read_bytes())
    out, asked = tmp_path / "out", tmp_path / "v2_OpenEnded_mscoco_test-dev2015_questions.json"
    assert main([str(write_job(out, checkpoint_folder, asked, pictures, scorer="vqa", variant=None))]) == 0
    said = capsys.readouterr().out
    assert "no score: the right answers are not public; 2 answers to upload: submission.json" in said
    result = job.read_result(out, "evaluate", EvaluateResult)
    assert (result.score, result.stderr, result.metric, result.submission) == (None, None, None, "submission.json")
    assert (result.num_questions, result.num_clusters) == (2, 2)
    answers = {row["question_id"]: row["text"] for row in rows_of(out / "answers.jsonl")}
    upload = json.loads((out / "submission.json").read_text())
    assert [row["question_id"] for row in upload] == [11, 12, 13]
    assert upload[1]["answer"] == ""
    assert upload[0]["answer"] == normalise_m4c(answers[11])
    assert (out / "items.jsonl").read_text() == ""


def test_a_hidden_split_without_a_server_is_told_before_anything_is_asked(
    tmp_path: Path, checkpoint_folder: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "coco.json"
    path.write_text(json.dumps({"question_id": 1, "image": "0.png", "text": "Is there a dog?", "label": "yes"}))
    with pytest.MonkeyPatch.context() as patch:
        hidden = [Question(question_id=1, image="0.png", text="Is there a dog?", gold=())]
        variant = dataclasses.replace(POPE.variants["accuracy"], read=lambda files: hidden)
        patch.setitem(BENCHMARKS, "pope", dataclasses.replace(POPE, variants={"accuracy": variant}))
        assert main([str(write_job(tmp_path / "out", checkpoint_folder, path, images))]) == 2
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
