"""An evaluation by several processes: the same file as one writes alone, also past a kill and with another number of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from evaluate_job import rows_of, write_job, write_pope

from tinyllava_core import job
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.answer.__main__ import main
from tinyllava_core.evaluate.answer.journal import Journal
from tinyllava_core.evaluate.answer.ranks import Ranks, Tally, part, take_in_parts
from tinyllava_core.evaluate.questions.questions import Question
from tinyllava_core.results import EvaluateResult

QUESTIONS = [
    Question(question_id=place, image=image, text=f"what is {place}?", gold=("yes",))
    for place, image in enumerate(["a", "b", "a", None, "c", "b", None, "a"])
]


def torchrun(path: Path, processes: int) -> list[str]:
    return [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"),
        *("-m", "tinyllava_core.evaluate.answer", str(path)),
    ]


def test_questions_about_one_picture_are_dealt_to_one_rank_and_every_question_to_one() -> None:
    """Pictures and text-only questions in their order: a, b, question 3, c, question 6; dealt to ranks 0, 1, 0, 1, 0."""
    shares = [[one.question_id for one in Ranks(rank=rank, world_size=2).share(QUESTIONS)] for rank in (0, 1)]
    assert shares == [[0, 2, 3, 6, 7], [1, 4, 5]]
    assert Ranks().share(QUESTIONS) == QUESTIONS
    assert [len(Ranks(rank=rank, world_size=9).share(QUESTIONS)) for rank in range(9)] == [3, 2, 1, 1, 1, 0, 0, 0, 0]


def test_parts_are_taken_in_once_however_often_it_is_tried(tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    Journal(answers, QUESTIONS, "m").add(QUESTIONS[:1], ["first"])
    Journal(part(answers, 0), QUESTIONS, "m").add(
        QUESTIONS[:3], ["first", "one", "two"]
    )  # its 0 was taken in before a kill
    Journal(part(answers, 11), QUESTIONS, "m").add(QUESTIONS[6:7], ["six"])
    with part(answers, 11).open("a") as file:
        file.write('{"question_id": 7, "pro')  # died while writing
    tally = Tally(answers)
    assert tally.count() == 4
    assert take_in_parts(answers, QUESTIONS, "m").texts == {0: "first", 1: "one", 2: "two", 6: "six"}
    assert take_in_parts(answers, QUESTIONS, "m").num_answered == 4
    assert [row["question_id"] for row in rows_of(answers)] == [0, 1, 2, 6]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.jsonl"]


def test_a_part_of_another_evaluation_is_said(tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    Journal(part(answers, 0), QUESTIONS, "another").add(QUESTIONS[:1], ["first"])
    with pytest.raises(BadInput, match=r"answers\.part-00000\.jsonl: holds an answer of another evaluation"):
        take_in_parts(answers, QUESTIONS, "m")


def test_a_tally_reads_on(tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    tally, mine = Tally(answers), Journal(part(answers, 1), QUESTIONS, "m")
    assert tally.count() == 0
    mine.add(QUESTIONS[:2], ["a", "b"])
    assert tally.count() == 2
    mine.add(QUESTIONS[2:3], ["c"])
    assert tally.count() == tally.count() == 3


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, checkpoint_folder: Path, images: Path) -> Path:
    """The folder of an evaluation by one process."""
    home = tmp_path_factory.mktemp("alone")
    annotations = write_pope(home / "pope.json")
    assert main([str(write_job(home / "out", checkpoint_folder, annotations, images))]) == 0
    return home / "out"


def test_two_processes_write_the_very_file_that_one_writes(
    tmp_path: Path, alone: Path, checkpoint_folder: Path, images: Path
) -> None:
    out = tmp_path / "out"
    path = write_job(out, checkpoint_folder, alone.parent / "pope.json", images)
    ran = subprocess.run(torchrun(path, 2), capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert (out / "answers.jsonl").read_bytes() == (alone / "answers.jsonl").read_bytes()
    assert job.read_result(out, "evaluate", EvaluateResult) == job.read_result(alone, "evaluate", EvaluateResult)
    assert list(out.glob("*.part-*")) == []
    told = [progress for line in ran.stdout.splitlines() if (progress := job.Progress.parse(line))]
    assert 3 <= len(told) <= 4  # the first rank tells of all: its six questions, two at a time
    assert {one.total for one in told} == {12}
    assert ran.stdout.count("evaluate test-pope: accuracy ") == 1


def test_killed_with_two_processes_it_goes_on_with_one(
    tmp_path: Path, alone: Path, checkpoint_folder: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    path = write_job(out, checkpoint_folder, alone.parent / "pope.json", images)
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(torchrun(path, 2), stdout=subprocess.PIPE, text=True, env=environment) as launcher:
        assert launcher.stdout is not None
        next(line for line in launcher.stdout if line.startswith(job.PROGRESS_MARK))
        for process in (*psutil.Process(launcher.pid).children(recursive=True), psutil.Process(launcher.pid)):
            process.kill()
    left = sum(file.read_bytes().count(b"\n") for file in out.glob("answers*.jsonl"))
    assert left > 0
    assert main([str(path)]) == 0
    if left < 12:
        assert f"going on after {left} of 12 questions" in capsys.readouterr().out
    assert (out / "answers.jsonl").read_bytes() == (alone / "answers.jsonl").read_bytes()
    assert list(out.glob("*.part-*")) == []
