"""What a workspace weighs, and what of it no kept run needs. Two runs share a mix; each has a training of its own."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tinyllava_core import cli, disk
from tinyllava_core.artifact import Artifact, make_once
from tinyllava_core.errors import BadInput
from tinyllava_core.lineage.running import running
from tinyllava_core.lineage.store import leave
from tinyllava_core.results import StartResult

RESULT = StartResult(source="", size_bytes=1, checkpoint_sha256="0")


def made(workspace: Path, stage: str, spec: str, inputs: dict[str, Artifact], size: int) -> Artifact:
    def make(folder: Path) -> StartResult:
        (folder / "bytes").write_bytes(b"x" * size)
        return RESULT

    return make_once(workspace, stage, 1, {"spec": spec}, inputs, make)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    mix = made(tmp_path, "mix", "", {}, 1000)
    for second, run in enumerate(("old", "new")):
        trained = made(tmp_path, "sft", run, {"mix": mix}, 2000)
        row = {"run_id": run, "stage": "sft", "name": "sft", "fingerprint": trained.fingerprint, "made": True}
        row |= {"started_at": datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC), "seconds": 1.0, "task_run_id": None}
        leave(tmp_path, "stage", f"{run} sft sft", [row])
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "archive.zip").write_bytes(b"z" * 500)
    partial = tmp_path / "artifacts" / "sft" / ".0123456789abcdef.partial"
    partial.mkdir()
    (partial / "state").write_bytes(b"s" * 300)
    return tmp_path


def free(workspace: Path, keep: int | None) -> dict[str, int]:
    """Count what is not needed, by what it is."""
    things = [thing.what for thing in disk.weigh(workspace, keep) if not thing.needed]
    return {what: things.count(what) for what in things}


def test_all_that_any_run_has_and_what_went_into_it_is_needed(workspace: Path) -> None:
    assert free(workspace, None) == {"cache": 1}


def test_of_the_newest_run_alone_the_others_training_is_not_needed_but_the_shared_mix_is(workspace: Path) -> None:
    assert free(workspace, 1) == {"sft": 1, "unfinished": 1, "cache": 1}
    disk.remove(workspace, [thing for thing in disk.weigh(workspace, 1) if not thing.needed])
    left = sorted(folder.parent.name for folder in (workspace / "artifacts").glob("*/*") if folder.is_dir())
    assert left == ["mix", "sft"]
    assert not (workspace / "cache").exists()
    assert free(workspace, 1) == {}


def test_equal_bytes_under_two_names_weigh_once(workspace: Path) -> None:
    before = sum(thing.size_bytes for thing in disk.weigh(workspace) if thing.what == "mix")
    (folder,) = (workspace / "artifacts" / "mix").glob("[0-9a-f]*")
    (folder / "again").hardlink_to(folder / "bytes")
    assert sum(thing.size_bytes for thing in disk.weigh(workspace) if thing.what == "mix") == before >= 1000


def test_nothing_is_removed_while_a_run_is_at_work(workspace: Path) -> None:
    things = [thing for thing in disk.weigh(workspace, 1) if not thing.needed]
    with running(workspace, "new"), pytest.raises(BadInput, match="new is at work"):
        disk.remove(workspace, things)
    assert all(thing.path.exists() for thing in things)


def test_gc_only_tells_unless_it_is_to_delete(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["gc", "--keep", "1", "--workspace", str(workspace)]) == 0
    told = capsys.readouterr().out
    assert "`tinyllava gc --delete` removes 3 things" in told
    things = disk.weigh(workspace)
    assert (
        f"in all {len(things)} things, {sum(thing.size_bytes for thing in things) / 1e6:.1f} MB, of which runs need"
        in told
    )
    assert (workspace / "cache").exists()
    assert cli.main(["gc", "--keep", "1", "--delete", "--workspace", str(workspace)]) == 0
    assert "removed 3 things" in capsys.readouterr().out
    assert not (workspace / "cache").exists()


def test_where_no_run_is_known_nothing_that_was_made_is_taken_away(workspace: Path) -> None:
    """A workspace whose lineage was lost, or was not copied along: all of it was called unneeded, checkpoints too."""
    shutil.rmtree(workspace / "lineage")
    assert free(workspace, None) == {"cache": 1}
    assert free(workspace, 1) == {"unfinished": 1, "cache": 1}


def test_what_a_killed_removal_left_goes_with_the_next_one(workspace: Path) -> None:
    left = workspace / "artifacts" / "sft" / ".0011223344556677.removed"
    left.mkdir()
    (left / "half").write_bytes(b"h")
    assert free(workspace, None) == {"unfinished": 1, "cache": 1}
    disk.remove(workspace, [thing for thing in disk.weigh(workspace) if not thing.needed])
    assert free(workspace, None) == {}
    assert not left.exists()


def test_a_cache_that_is_a_link_is_emptied_and_stays_and_of_an_artifact_that_is_one_the_link_alone_goes(
    workspace: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    """Parts on another disk, by links: `gc --delete` ended in a traceback and left the cache under a name that nobody looks at."""
    other = tmp_path_factory.mktemp("other disk")
    (workspace / "cache").rename(other / "cache")
    (other / "cache" / "downloads").mkdir()
    (workspace / "cache").symlink_to(other / "cache")
    (workspace / ".cache.removed").mkdir()  # of a killed removal
    (old,) = (thing.path for thing in disk.weigh(workspace, 1) if thing.what == "sft" and not thing.needed)
    old.rename(other / "trained")
    old.symlink_to(other / "trained")
    assert free(workspace, 1) == {"sft": 1, "unfinished": 1, "cache": 2}
    assert cli.main(["gc", "--keep", "1", "--delete", "--workspace", str(workspace)]) == 0
    told = capsys.readouterr().err
    assert f"{old}: was a link: {other}/trained stays" in told
    assert f"{workspace}/cache: is a link: {other}/cache was emptied" in told
    assert not old.is_symlink()
    assert (other / "trained" / "bytes").is_file()
    assert (workspace / "cache").is_symlink()
    assert list((other / "cache").iterdir()) == []
    assert not (workspace / ".cache.removed").exists()


@pytest.mark.parametrize("content", [b"", b"junk"])
def test_a_runs_rows_that_cannot_be_read_are_one_line_and_nothing_is_removed(
    workspace: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    fragment = next((workspace / "lineage" / "fragments" / "stage").glob("*.parquet"))
    fragment.write_bytes(content)
    assert cli.main(["gc", "--delete", "--workspace", str(workspace)]) == 2
    assert f"{fragment}: cannot be read" in capsys.readouterr().err
    assert (workspace / "cache").exists()
