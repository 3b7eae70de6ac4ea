"""The job that a benchmark becomes, and what makes an evaluation anew."""

from __future__ import annotations

import logging
import shutil

import pytest
from filelock import FileLock, Timeout

from tasks import evaluate as stage
from tasks.evaluate import answer, evaluate, on_one_machine, one_process
from tasks.run import Run
from tinyllava_core.artifact import Artifact, make_once, unfinished
from tinyllava_core.job import EvaluateJob, write_result, write_seconds
from tinyllava_core.recipe import load
from tinyllava_core.results import DownloadResult, EvaluateResult
from tinyllava_core.settings.launch import Launch

DOWNLOADED = DownloadResult(
    source="toy-pope",
    kind="benchmark",
    licence=None,
    urls="",
    annotations="toy_pope.json",
    annotations_sha256="0" * 64,
    image_root="images",
    num_files=1,
    num_expected=None,
    size_bytes=1,
    num_requested=0,
    num_failed=0,
)


def answered(job: EvaluateJob) -> EvaluateResult:
    """What a process would leave."""
    return EvaluateResult(
        benchmark=job.benchmark,
        scorer=job.scorer,
        variant=job.variant or "default",
        blind=job.condition == "blind",
        corruption=None,
        severity=None,
        metric="accuracy",
        score=80.0,
        stderr=1.0,
        ci_low=78.0,
        ci_high=82.0,
        max_score=100.0,
        num_questions=300,
        num_clusters=75,
        num_unparsed=0,
        judge=None,
        prompt_sha256="0" * 64,
        answers_sha256="0" * 64,
        submission=None,
    )


@pytest.fixture
def starts() -> list[str]:
    """The titles of the processes that were started."""
    return []


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, starts: list[str]) -> list[EvaluateJob]:
    """The jobs that were started; each answers at once."""
    jobs: list[EvaluateJob] = []

    def launch(job: EvaluateJob, how: Launch, title: str, *more: EvaluateJob) -> None:
        assert how.launcher == "plain"
        starts.append(title)
        for one in (job, *more):
            jobs.append(one)
            write_result(one.out, "evaluate", answered(one))
            write_seconds(one.out, 2.5)

    monkeypatch.setattr(stage, "launch", launch)
    return jobs


def given(run: Run, recipe: dict | None = None) -> tuple[Run, Artifact, Artifact]:
    """A run of the toy recipe, a downloaded benchmark, a checkpoint."""
    run = Run(run_id=run.run_id, workspace=run.workspace, recipe=load("toy", recipe))
    downloaded = make_once(run.workspace, "download", 1, {"name": "toy-pope"}, {}, lambda folder: DOWNLOADED)
    return run, downloaded, make_once(run.workspace, "sft", 1, {}, {}, lambda folder: DOWNLOADED)


def call(run: Run, recipe: dict | None = None, *, condition: str = "seen") -> Artifact:
    run, downloaded, trained = given(run, recipe)
    return evaluate.fn(run, "toy-pope", downloaded, trained, condition=condition, sets={})


def test_a_benchmark_becomes_a_job(run: Run, started: list[EvaluateJob]) -> None:
    call(run, condition="blind")
    (job,) = started
    home = run.workspace / "artifacts"
    assert (job.benchmark, job.scorer, job.variant, job.condition) == ("toy-pope", "pope", "accuracy", "blind")
    (place,) = job.images.places
    assert [path.relative_to(home).parts[0] for path in (job.annotations, place.folder)] == ["download", "download"]
    assert (job.annotations.name, place.folder.name, job.checkpoint.name) == ("toy_pope.json", "images", "checkpoint")


def test_every_condition_is_an_evaluation_of_its_own(run: Run, started: list[EvaluateJob]) -> None:
    assert len({call(run, condition=word).fingerprint for word in ("seen", "blind", "blur-1", "blur-2")}) == 4
    assert [job.condition for job in started] == ["seen", "blind", "blur-1", "blur-2"]


def test_all_that_is_left_is_answered_by_one_process_and_found_by_each_evaluation(
    run: Run, started: list[EvaluateJob], starts: list[str]
) -> None:
    recipe = {"evaluate.benchmarks": ["toy-pope"], "evaluate.robustness": ["blur-1", "blur-2"]}
    call(run, recipe, condition="blind")  # one is there already
    started.clear(), starts.clear()
    asked, downloaded, trained = given(run, recipe)
    spent = answer.fn(asked, trained, {"toy-pope": downloaded}, {})
    assert starts == ["answer"]
    assert [job.condition for job in started] == ["seen", "blur-1", "blur-2"]
    assert spent == {("toy-pope", word): 2.5 for word in ("seen", "blur-1", "blur-2")}
    made = [call(run, recipe, condition=word) for word in asked.recipe.evaluate.conditions]
    assert [artifact.made for artifact in made] == [True, False, True, True]
    assert answer.fn(asked, trained, {"toy-pope": downloaded}, {}) == {}
    assert starts == ["answer"]


def test_who_only_scores_is_told_how_what_was_answered_before_is_done_anew(
    run: Run, started: list[EvaluateJob], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="tinyllava")
    scored = call(run)
    call(run)
    assert "answered before" not in caplog.text, "a run that trains was not meant to"
    call(run, {"pretrain": None, "sft": None, "start": "latest"})
    assert f"answered before; to have it done anew: rm -r {scored.folder}" in caplog.text
    shutil.rmtree(scored.folder)
    assert call(run).made


def test_what_is_being_answered_is_nobody_elses_to_make(run: Run) -> None:
    with unfinished(run.workspace, "evaluate", ["a" * 16, "b" * 16]) as folders:
        assert sorted(folders) == ["a" * 16, "b" * 16]
        with pytest.raises(Timeout):
            FileLock(run.workspace / "artifacts" / "evaluate" / f".{'a' * 16}.lock", timeout=0.1).acquire()
    (run.workspace / "artifacts" / "evaluate" / ("a" * 16)).mkdir()
    (run.workspace / "artifacts" / "evaluate" / ("a" * 16) / "result.json").write_text("{}")
    with unfinished(run.workspace, "evaluate", ["a" * 16, "b" * 16]) as folders:
        assert list(folders) == ["b" * 16]


def test_how_many_are_answered_together_changes_nothing(run: Run, started: list[EvaluateJob]) -> None:
    first = call(run)
    assert not call(run, {"evaluate.batch_size": 1, "launch.device": "cpu"}).made
    assert call(run, {"evaluate.precision": "bf16"}).fingerprint != first.fingerprint


def test_a_job_of_one_process_keeps_device_and_time_limit() -> None:
    how = Launch(launcher="deepspeed", processes=8, zero_stage=2, device="cuda", timeout_s=60)
    assert one_process(how) == Launch(device="cuda", timeout_s=60)


def test_the_processes_of_a_training_answer_too_but_on_one_machine_and_without_an_optimizer() -> None:
    how = Launch(
        launcher="deepspeed", processes=8, zero_stage=2, nodes=2, hostfile="hosts", device="cuda", timeout_s=60
    )
    assert on_one_machine(how) == Launch(launcher="torchrun", processes=8, device="cuda", timeout_s=60)
    assert on_one_machine(Launch()) == Launch()
