"""Rows whose disk is full wait, in their order, and what is being made goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.record import record
from tasks.run import Run, begin
from tasks.running import books
from tinyllava_core.lineage.store import open_read_only
from tinyllava_core.recipe import load
from tinyllava_core.results import MixResult
from tinyllava_core.room import DiskFull

MIXED = MixResult(
    num_sources=1, num_records=8, num_distinct_records=8, num_images=8, num_text_only=0, num_left_out=0, num_duplicates=0,
    num_contaminated=0, seed=42,
)  # fmt: skip


@pytest.fixture
def workspace(tmp_path: Path, small_disk) -> Path:
    """A workspace whose books lie on a disk of their own, which is full."""
    disk = small_disk("300k")
    (tmp_path / "lineage").symlink_to(disk)
    (disk / "other").write_bytes(bytes(300 << 10))
    return tmp_path


def mixed(run: Run):
    return record(run, "mix", "sft", 1, {"seed": 42}, {}, lambda folder: MIXED)


def test_a_stage_is_made_though_its_rows_find_no_room_and_they_are_written_when_there_is_some(workspace, small_disk):
    with begin(load("toy"), None, str(workspace)) as run:
        artifact = mixed(run)
        assert (artifact.folder / "result.json").is_file()
        assert not list((workspace / "lineage").rglob("*.parquet"))
        small_disk("9m", (workspace / "lineage").resolve())
    with open_read_only(workspace) as connection:
        asked = "SELECT state, stage.name, mix.num_records FROM run JOIN run_end USING (run_id) JOIN stage USING (run_id) JOIN mix USING (fingerprint)"
        assert connection.execute(asked).fetchall() == [("Completed", "sft", 8)]


def test_a_run_whose_rows_never_find_room_says_so_at_its_end_and_the_next_writes_them(workspace, small_disk):
    with (
        pytest.raises(
            DiskFull,
            match=r"lineage: .* is full, 6 fragments of this run could not be written; every artifact is whole",
        ),
        begin(load("toy"), None, str(workspace)) as run,
    ):
        mixed(run)
    assert not list((workspace / "lineage").rglob("*.partial"))
    small_disk("9m", (workspace / "lineage").resolve())
    with begin(load("toy"), None, str(workspace)) as run:
        assert not mixed(run).made
    with open_read_only(workspace) as connection:
        assert connection.execute("SELECT num_records FROM mix JOIN artifact USING (fingerprint)").fetchall() == [(8,)]


def test_rows_that_are_wrong_do_not_wait(tmp_path):
    with pytest.raises(AssertionError, match="missing columns"):
        books.leave(tmp_path, "run_end", "a", [{"run_id": "a"}])
    books.check(tmp_path)
