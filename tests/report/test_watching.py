"""A run that is still at it: in the terminal, and on a page that refreshes itself."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from made_up_run import MadeUp

from tinyllava_core import cli
from tinyllava_core.lineage.running import running
from tinyllava_core.lineage.store import leave
from tinyllava_core.recipe import load
from tinyllava_core.report.gather import gather_named, state_of
from tinyllava_core.report.watching import AtWork, at_work, sparkline
from tinyllava_core.results import PlanResult

BEGAN = datetime(2026, 1, 1, 10, tzinfo=UTC)


def test_a_curve_in_one_line_goes_from_its_lowest_to_its_highest():
    assert sparkline([0, 1, 2, 7]) == "▁▂▃█"
    assert sparkline([0, 2, 7, 7], width=2) == "▁█"
    assert sparkline([3, 3]) == "▁▁"
    assert sparkline([]) == ""


def test_the_time_to_go_is_told_from_the_latest_steps():
    """Twenty steps of 2 s after ten slow ones; 70 of 100 are left."""
    rows = [{"step": n, "seconds": 60.0 if n < 10 else 2.0} for n in range(30)]
    assert AtWork(stage="sft", rows=rows, num_steps=100, records=()).seconds_left == 140.0
    assert AtWork(stage="sft", rows=[], num_steps=100, records=()).seconds_left is None


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A run that has its plan and two and a half steps of sft; the last line is being written."""
    made = MadeUp(tmp_path)

    def planned(folder: Path) -> PlanResult:
        columns = {"step": [0, 1, 1], "record_id": ["a", "b", "c"], "num_tokens": [10, 20, 30]}
        pq.write_table(pa.table(columns), folder / "plan.parquet")
        return PlanResult(**dict.fromkeys(PlanResult.__dataclass_fields__, 0) | {"num_steps": 10})

    plan = made.make("plan", "sft", {}, planned)
    partial = tmp_path / "artifacts" / "sft" / ".f00d.partial"
    partial.mkdir(parents=True)
    common = {"loss_by_source": {"cats": 2.0}, "lr": {}, "grad_norm_by_part": {}, "grad_norm": 1.0, "seconds": 3.0, "tokens_per_s": 50.0, "data_wait_share": 0.1, "mfu": None, "peak_memory_bytes": None}  # fmt: skip
    lines = [json.dumps({"step": step, "loss": 3.0 - step, **common}) for step in range(2)]
    (partial / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 2, "lo')
    (partial / "steps.jsonl").write_text("\n".join(json.dumps({"step": n, "loss": 3.0 - n}) for n in range(2)) + "\n")
    run = {
        "run_id": "toy-1", "recipe": "toy", "recipe_yaml": yaml.safe_dump(load("toy").model_dump(mode="json")), "recipe_sha256": "",
        "overrides_json": "{}", "flow_run_id": None, "git_commit": None, "git_dirty": None, "packages_json": "{}", "host": "here",
        "seed": 7, "started_at": BEGAN,
    }  # fmt: skip
    leave(tmp_path, "run", "toy-1", [run])
    stage = {"run_id": "toy-1", "stage": "plan", "name": "sft", "fingerprint": plan.fingerprint, "made": True, "started_at": BEGAN, "seconds": 1.5, "task_run_id": None}  # fmt: skip
    leave(tmp_path, "stage", "toy-1 plan sft", [stage])
    begun = {"run_id": "toy-1", "stage": "sft", "name": "sft", "fingerprint": "f00d", "started_at": BEGAN}
    leave(tmp_path, "begun", "toy-1 sft sft", [begun])
    return tmp_path


def test_a_training_that_is_at_work_is_read_as_far_as_it_is_whole(workspace: Path):
    (work,) = at_work(gather_named(workspace, "latest"))
    assert (work.stage, work.done, work.num_steps, work.seconds_left) == ("sft", 2, 10, 24.0)
    assert work.records == ("b", "c")


def test_the_terminal_and_the_page_show_it_while_it_runs(workspace: Path, capsys: pytest.CaptureFixture[str]):
    with running(workspace, "toy-1"):
        assert cli.main(["watch", "toy", "--once", "--page", "--workspace", str(workspace)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for told in (
        "toy-1 Running",
        "✓ plan sft 1.5 s",
        "▸ sft step 2 of 10",
        "24 s to go",
        "loss █▁ 2.0000",
        "cats",
        "last: b, c",
    ):
        assert told in shown, told
    page = (workspace / "live" / "toy-1" / "report.html").read_text()
    assert '<meta http-equiv="refresh" content="5">' in page
    assert "Loss of sft: 2.50 at step 0" in page or "Loss of sft: 3.00 at step 0" in page


def test_a_run_whose_process_is_gone_is_told_and_the_watching_ends(workspace: Path):
    assert state_of(workspace, "toy-1") == "Running"
    lock = workspace / "lineage" / "running" / "toy-1.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    assert state_of(workspace, "toy-1") == "Killed"
    assert cli.main(["watch", "--workspace", str(workspace)]) == 0
