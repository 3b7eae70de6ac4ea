"""Process trees: everything a process starts ends with it, whatever it does to be forgotten."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from waiting import wait_until

from tasks import tree

# A launcher that starts two ranks in sessions of their own, as torchrun does, and waits for them.
LAUNCHER = """
import subprocess, sys
ranks = [subprocess.Popen([sys.executable, "-c", sys.argv[1]], start_new_session=True) for _ in range(2)]
print("ready", flush=True)
for rank in ranks:
    rank.wait()
"""
POLITE = "import time; time.sleep(60)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
)


def plant(tmp_path: Path, *command: str, **options) -> tuple[tree.Tree, Path]:
    log = tmp_path / "log.txt"
    with log.open("wb") as output:
        return tree.plant([sys.executable, "-c", *command], output, **options), log


def test_the_output_of_a_process_goes_to_the_file(tmp_path: Path) -> None:
    planted, log = plant(tmp_path, "import sys; print('out'); print('err', file=sys.stderr)")
    assert planted.process.wait(10) == 0
    planted.release()
    assert sorted(log.read_text().split()) == ["err", "out"]


def test_ending_a_tree_ends_ranks_in_sessions_of_their_own(tmp_path: Path) -> None:
    planted, _ = plant(tmp_path, LAUNCHER, POLITE)
    wait_until(lambda: len(tree.members(planted.mark)) == 3)
    started = time.monotonic()
    planted.end(grace_s=20)
    assert tree.members(planted.mark) == []
    assert time.monotonic() - started < 5  # nobody had to be killed
    assert planted.process.returncode == -signal.SIGTERM
    assert planted.watchdog is not None
    assert planted.watchdog.returncode is not None


def test_a_rank_whose_launcher_was_killed_is_still_found(tmp_path: Path) -> None:
    planted, _ = plant(tmp_path, LAUNCHER, POLITE)
    wait_until(lambda: len(tree.members(planted.mark)) == 3)
    planted.process.kill()
    planted.process.wait()
    assert len(tree.members(planted.mark)) == 2
    planted.end()
    assert tree.members(planted.mark) == []


def test_ranks_that_ignore_sigterm_are_killed_after_the_grace(tmp_path: Path) -> None:
    planted, log = plant(tmp_path, LAUNCHER, STUBBORN)
    wait_until(lambda: log.read_text().count("deaf") == 2)
    started = time.monotonic()
    planted.end(grace_s=1)
    assert 1 <= time.monotonic() - started < 5
    assert tree.members(planted.mark) == []


@pytest.mark.parametrize("rank", [POLITE, STUBBORN], ids=["polite", "stubborn"])
def test_kill_9_of_the_parent_leaves_no_orphan(tmp_path: Path, rank: str) -> None:
    parent = f"""
import sys, time
from tasks import tree
with open({str(tmp_path / "log.txt")!r}, "wb") as output:
    planted = tree.plant([sys.executable, "-c", {LAUNCHER!r}, {rank!r}], output, grace_s=1)
print(planted.mark, flush=True)
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    mark = process.stdout.readline().strip()
    wait_until(lambda: len(tree.members(mark)) == 3)
    if rank == STUBBORN:
        wait_until(lambda: (tmp_path / "log.txt").read_text().count("deaf") == 2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_until(lambda: not tree.members(mark))


def test_an_unguarded_tree_lives_on_and_is_ended_by_its_mark(tmp_path: Path) -> None:
    planted, _ = plant(tmp_path, POLITE, guarded=False)
    assert planted.watchdog is None
    assert len(tree.members(planted.mark)) == 1
    tree.end(planted.mark, reap=planted.process)
    assert tree.members(planted.mark) == []
