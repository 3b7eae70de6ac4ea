"""A run is seen from its first second, a training from its first step, by any reader; a killed one is told from a running one."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
from small_workspace import named

from tinyllava_core.lineage.running import running, tell_killed
from tinyllava_core.lineage.store import leave, open_read_only, publish

SFT, PRETRAIN = "5f" + "0" * 14, "4f" + "0" * 14


def states(workspace: Path) -> list[tuple]:
    """Ask as a person does who has duckdb and nothing of ours."""
    with duckdb.connect(str(workspace / "lineage.duckdb"), read_only=True) as connection:
        return connection.execute("SELECT run_id, state, at_stage, last_step, last_loss FROM run_state").fetchall()


@pytest.fixture
def training(tmp_path: Path) -> Path:
    """A workspace in which run-1 has begun its sft, published before the first step; gives the file of the steps."""
    folder = tmp_path / "artifacts" / "sft" / f".{SFT}.partial"
    folder.mkdir(parents=True)
    (folder / "steps.jsonl").touch()
    columns = "run_id recipe recipe_yaml recipe_sha256 overrides_json flow_run_id git_commit git_dirty packages_json host seed"
    row = ("run-1", "toy", "name: toy", "0", "{}", None, "abc", False, "{}", "here", 42, datetime.now(UTC))
    leave(tmp_path, "run", "run-1", named(f"{columns} started_at", row))
    begun = {"run_id": "run-1", "stage": "sft", "name": "sft", "fingerprint": SFT, "started_at": datetime.now(UTC)}
    leave(tmp_path, "begun", "run-1 sft sft", [begun])
    publish(tmp_path)
    return folder / "steps.jsonl"


def step(number: int, loss: float) -> str:
    return json.dumps({"step": number, "loss": loss, "num_records": 1, "seconds": 0.1, "life": 0}) + "\n"


def test_the_last_loss_is_there_without_anything_being_published_again(training: Path, tmp_path: Path) -> None:
    assert states(tmp_path) == [("run-1", "Running", "sft", None, None)]
    training.write_text(step(0, 3.5) + step(1, 2.5))
    assert states(tmp_path) == [("run-1", "Running", "sft", 1, 2.5)]
    with training.open("a") as file:
        file.write('{"step": 2, "lo')  # half a line: it is being written
    assert states(tmp_path) == [("run-1", "Running", "sft", 1, 2.5)]


def test_an_ended_run_keeps_the_last_loss_of_its_last_training(training: Path, tmp_path: Path) -> None:
    """Pretrain was made before sft, in this run or another; the runs that share a training share its loss."""
    training.write_text(step(0, 3.5) + step(1, 0.5))
    training.parent.rename(training.parents[1] / SFT)
    before = tmp_path / "artifacts" / "pretrain" / PRETRAIN
    before.mkdir(parents=True)
    (before / "steps.jsonl").write_text(step(7, 9.0))
    for stage, fingerprint, hour in (("pretrain", PRETRAIN, 1), ("sft", SFT, 2), ("evaluate", "e" * 16, 3)):
        when = datetime(2026, 1, 1, hour, tzinfo=UTC)
        row = {"run_id": "run-1", "stage": stage, "name": stage, "fingerprint": fingerprint, "started_at": when, "seconds": 1.0, "made": True, "task_run_id": None}  # fmt: skip
        leave(tmp_path, "stage", f"run-1 {stage}", [row])
    leave(tmp_path, "run_end", "run-1", [{"run_id": "run-1", "ended_at": datetime.now(UTC), "state": "Completed"}])
    publish(tmp_path)
    assert states(tmp_path) == [("run-1", "Completed", None, 1, 0.5)]


def test_a_finished_training_is_read_under_the_same_fingerprint(training: Path, tmp_path: Path) -> None:
    training.write_text(step(0, 3.5))
    training.parent.rename(training.parents[1] / SFT)
    with duckdb.connect(str(tmp_path / "lineage.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT fingerprint, stage, step FROM steps").fetchall() == [(SFT, "sft", 0)]


def test_a_run_that_ended_is_at_nothing(training: Path, tmp_path: Path) -> None:
    leave(tmp_path, "run_end", "run-1", [{"run_id": "run-1", "ended_at": datetime.now(UTC), "state": "Cancelled"}])
    publish(tmp_path)
    assert states(tmp_path) == [("run-1", "Cancelled", None, None, None)]


def test_a_killed_run_is_told_from_a_running_one(training: Path, tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from tinyllava_core.lineage.running import running\n"
        f"with running(Path({str(tmp_path)!r}), 'run-1'):\n    print('up', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    publish(tmp_path)
    assert states(tmp_path)[0][:2] == ("run-1", "Running")
    process.kill()
    process.wait()
    publish(tmp_path)
    assert states(tmp_path)[0][:3] == ("run-1", "Killed", "sft")
    with open_read_only(tmp_path) as connection:
        assert connection.execute("SELECT run_id FROM killed").fetchall() == [("run-1",)]


def test_a_run_of_this_very_process_is_not_taken_for_killed(training: Path, tmp_path: Path) -> None:
    with running(tmp_path, "run-1"):
        tell_killed(tmp_path)
        publish(tmp_path)
        assert states(tmp_path)[0][:2] == ("run-1", "Running")
    assert not list((tmp_path / "lineage" / "running").iterdir())
