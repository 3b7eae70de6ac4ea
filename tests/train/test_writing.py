"""A kill while a state is being written beside the training; garbage that is collected at the same steps everywhere."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tinyllava_core.job import TrainJob
from tinyllava_core.train import ledger, loop
from tinyllava_core.train.__main__ import run
from tinyllava_core.train.ledger import read_rows

MakeJob = Callable[..., TrainJob]


class Died(BaseException):
    """The process was killed here."""


def torn(aside: Path) -> None:
    (file,) = aside.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def before_its_sums(aside: Path) -> None:
    (aside / "sha256.json").unlink()


def whole(aside: Path) -> None:
    """All is there but the rename."""


@pytest.fixture
def undisturbed(make_job: MakeJob) -> TrainJob:
    job = make_job("undisturbed")
    run(job, [False])
    return job


@pytest.mark.parametrize("left", [torn, before_its_sums, whole])
def test_a_death_while_a_state_is_written_goes_on_from_the_one_before(
    make_job: MakeJob, undisturbed: TrainJob, monkeypatch: pytest.MonkeyPatch, left: Callable[[Path], None]
) -> None:
    """The second of three states, that of step 4, is not renamed; the training dies in step 5, while it is written."""
    job, true_publish, true_run_packs, writing = make_job("killed"), ledger.publish, loop.run_packs, threading.Event()

    def publish(aside: Path, final: Path) -> None:
        if final.name != "step-00000004":
            return true_publish(aside, final)
        left(aside)
        writing.set()
        raise SystemExit  # ends this thread alone, without a word

    def until_death(work: Any, step: int, *rest: Any) -> Any:
        if step == 4:
            assert writing.wait(30)
            raise Died
        return true_run_packs(work, step, *rest)

    monkeypatch.setattr(ledger, "publish", publish)
    monkeypatch.setattr(loop, "run_packs", until_death)
    with pytest.raises(Died):
        run(job, [False])
    assert sorted(folder.name for folder in (job.out / "resume").iterdir()) == [".partial", "step-00000002"]
    monkeypatch.setattr(ledger, "publish", true_publish)
    monkeypatch.setattr(loop, "run_packs", true_run_packs)
    run(job, [False])
    assert [life["from_step"] for life in read_rows(job.out / "lives.jsonl")] == [0, 2]
    mine, theirs = (load_file(one.out / "checkpoint" / "model.safetensors") for one in (job, undisturbed))
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert [row["loss"] for row in read_rows(job.out / "steps.jsonl")] == [
        row["loss"] for row in read_rows(undisturbed.out / "steps.jsonl")
    ]


def test_garbage_is_collected_at_chosen_steps_and_at_no_other_time(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, collected, step_now = make_job("rubbish"), [], [-1]
    true_run_packs = loop.run_packs

    def littering(work: Any, step: int, *rest: Any) -> Any:
        step_now[0] = step
        knots: list[Any] = [[] for _ in range(5000)]  # enough for Python to collect by itself
        for knot in knots:
            knot.append(knot)
        return true_run_packs(work, step, *rest)

    def seen(phase: str, told: dict[str, int]) -> None:
        if phase == "stop" and not gc.isenabled():
            collected.append((step_now[0] + 1, told["collected"] >= 5000))

    monkeypatch.setattr(loop, "run_packs", littering)
    monkeypatch.setattr(loop, "COLLECT_EVERY", 3)
    gc.callbacks.append(seen)
    try:
        run(job, [False])
    finally:
        gc.callbacks.remove(seen)
    assert collected == [(0, False), (3, True)]
    assert gc.isenabled()
