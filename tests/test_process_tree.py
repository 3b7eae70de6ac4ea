"""Process trees: everything a process starts ends with it, whatever it does to be forgotten."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from waiting import wait_until

from tinyllava_core import process_tree as tree

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
from tinyllava_core import process_tree as tree
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


# A leader that starts a worker; both note their process ids and live for a minute, unless told to end at once.
LEADER = """
import os, subprocess, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
worker = "import sys, time; open(sys.argv[1], 'w').write('x'); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", worker, str(folder / "ready")], start_new_session=True)
(folder / "pids").write_text(f"{os.getpid()} {child.pid}")
print("hello", flush=True)
while not (folder / "end").exists():
    time.sleep(0.02)
sys.exit(3)
"""


def pids(folder: Path) -> list[int]:
    return [int(pid) for pid in (folder / "pids").read_text().split()]


def alive(numbers: list[int]) -> list[int]:
    return [pid for pid in numbers if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


def watched(folder: Path, progress, stall_s: float = 30) -> int:
    command = [sys.executable, "-c", LEADER, str(folder)]
    return tree.run_watched(command, log=folder / "log.txt", progress=progress, stall_s=stall_s)


def test_the_exit_code_comes_back_the_output_is_kept_and_a_left_worker_is_ended(tmp_path: Path) -> None:
    def progress():
        if (tmp_path / "ready").exists():
            (tmp_path / "end").touch()

    assert watched(tmp_path, progress) == 3
    assert (tmp_path / "log.txt").read_text() == "hello\n"
    assert alive(pids(tmp_path)) == []


def test_a_tree_that_does_nothing_is_ended_and_told(tmp_path: Path) -> None:
    moves = iter(range(3))
    with pytest.raises(tree.Stalled, match=r"nothing happened for 1\.5 s: (?s:.*) its output: .*log\.txt"):
        watched(tmp_path, lambda: next(moves, 3) if (tmp_path / "ready").exists() else time.monotonic(), stall_s=1.5)
    assert alive(pids(tmp_path)) == []


def test_an_interruption_ends_what_is_watched(tmp_path: Path) -> None:
    def progress():
        if (tmp_path / "ready").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watched(tmp_path, progress)
    assert alive(pids(tmp_path)) == []


def test_kill_9_of_who_watches_ends_what_is_watched(tmp_path: Path) -> None:
    starter = f"""
import sys
from pathlib import Path
from tinyllava_core.process_tree import run_watched
folder = Path({str(tmp_path)!r})
run_watched([sys.executable, "-c", {LEADER!r}, str(folder)], log=folder / "log.txt", progress=lambda: None, stall_s=60)
"""
    process = subprocess.Popen([sys.executable, "-c", starter])
    wait_until((tmp_path / "ready").exists)
    group = pids(tmp_path)
    assert alive(group) == group
    process.kill()
    process.wait()
    wait_until(lambda: not alive(group), 10)


def test_a_folder_with_the_dataclasses_back_port_is_kept_off_the_path(tmp_path: Path) -> None:
    (tmp_path / "with").mkdir()
    (tmp_path / "with" / "dataclasses.py").touch()
    (tmp_path / "without").mkdir()
    both = f"{tmp_path / 'with'}{os.pathsep}{tmp_path / 'without'}"
    assert tree.without_back_port(both) == str(tmp_path / "without")
    assert tree.without_back_port(str(tmp_path / "with")) == ""
    assert tree.without_back_port("") == ""


def test_the_back_port_shadows_nothing_in_what_is_planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "with").mkdir()
    (tmp_path / "with" / "dataclasses.py").write_text("raise ImportError('the back-port')")
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "own.py").touch()
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'with'}{os.pathsep}{tmp_path / 'without'}")
    with (tmp_path / "log").open("wb") as output:
        planted = tree.plant([sys.executable, "-c", "import dataclasses, own; print('well')"], output)
        planted.process.wait()
        planted.end()
    assert (tmp_path / "log").read_text() == "well\n"


def test_the_back_port_does_not_blind_the_watchdog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "with").mkdir()
    (tmp_path / "with" / "dataclasses.py").write_text("raise ImportError('the back-port')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "with"))
    planted, _ = plant(tmp_path, POLITE)
    assert planted.watchdog is not None
    with pytest.raises(subprocess.TimeoutExpired):
        planted.watchdog.wait(1)
    planted.end()
