import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tinyllava_core.data.process_group import Stalled, clean_environment, run_group

# A leader that starts a worker; both note their process ids and live for a minute, unless told to end at once.
LEADER = """
import os, subprocess, sys, time
from pathlib import Path
from tinyllava_core.data.process_group import die_with_parent
die_with_parent(int(sys.argv[2]) if len(sys.argv) > 2 else None)
folder = Path(sys.argv[1])
worker = "import sys, time; from tinyllava_core.data.process_group import die_with_parent; die_with_parent(); "
worker += "open(sys.argv[1], 'w').write('x'); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", worker, str(folder / "ready")])
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


def wait_until(condition, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def run(folder: Path, progress, stall_s: float = 30) -> int:
    command = [sys.executable, "-c", LEADER, str(folder), str(os.getpid())]
    return run_group(command, env=clean_environment(), log=folder / "log.txt", progress=progress, stall_s=stall_s)


def test_the_exit_code_comes_back_the_output_is_kept_and_a_left_worker_is_ended(tmp_path):
    def progress():
        if (tmp_path / "ready").exists():
            (tmp_path / "end").touch()

    assert run(tmp_path, progress) == 3
    assert (tmp_path / "log.txt").read_text() == "hello\n"
    assert alive(pids(tmp_path)) == []


def test_a_group_that_does_nothing_is_ended_and_told(tmp_path):
    moves = iter(range(3))
    with pytest.raises(Stalled, match=r"nothing happened for 1\.5 s: (?s:.*) its output: .*log\.txt"):
        run(tmp_path, lambda: next(moves, 3) if (tmp_path / "ready").exists() else time.monotonic(), stall_s=1.5)
    assert alive(pids(tmp_path)) == []


def test_an_interruption_ends_the_group(tmp_path):
    def progress():
        if (tmp_path / "ready").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, progress)
    assert alive(pids(tmp_path)) == []


def test_kill_9_of_the_starter_ends_the_group(tmp_path):
    starter = f"""
import os, sys
from pathlib import Path
from tinyllava_core.data.process_group import clean_environment, run_group
folder = Path({str(tmp_path)!r})
run_group([sys.executable, "-c", {LEADER!r}, str(folder), str(os.getpid())], env=clean_environment(),
          log=folder / "log.txt", progress=lambda: None, stall_s=60)
"""
    process = subprocess.Popen([sys.executable, "-c", starter])
    wait_until((tmp_path / "ready").exists)
    group = pids(tmp_path)
    assert alive(group) == group
    process.kill()
    process.wait()
    wait_until(lambda: not alive(group), seconds=5)


def test_a_folder_with_the_dataclasses_back_port_is_kept_off_the_childs_path(tmp_path, monkeypatch):
    (tmp_path / "with").mkdir()
    (tmp_path / "with" / "dataclasses.py").touch()
    (tmp_path / "without").mkdir()
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'with'}{os.pathsep}{tmp_path / 'without'}")
    assert clean_environment(A="1")["PYTHONPATH"] == str(tmp_path / "without")
    assert clean_environment(A="1")["A"] == "1"
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "with"))
    assert "PYTHONPATH" not in clean_environment()
