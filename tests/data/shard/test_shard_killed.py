"""Tars are written by several processes, any of which may be killed at any time: the bytes are those of an undisturbed run."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tinyllava_core.data.shard.shard import shard
from tinyllava_core.settings.shard import Shard

SLOW = """
import pickle, sys, time
from pathlib import Path
from tinyllava_core.data.shard import shard as core
from tinyllava_core.data.shard import part as shard_part
from tinyllava_core.settings.shard import Shard

place = shard_part._place
def slowly(tar, layout, number, position, *more):
    row = place(tar, layout, number, position, *more)
    print(position, flush=True)
    time.sleep(0.03)
    return row
shard_part._place = slowly

mixed, sources = pickle.loads(Path(sys.argv[1]).read_bytes())
core.shard(mixed, sources, Shard(records_per_shard=3), Path(sys.argv[2]), processes=1)
"""


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def undisturbed(tmp_path, world) -> dict[str, bytes]:
    shard(*world, Shard(records_per_shard=3), tmp_path / "undisturbed", processes=1)
    return bytes_of(tmp_path / "undisturbed")


def test_any_number_of_processes_writes_the_same_bytes(tmp_path, world, undisturbed):
    shard(*world, Shard(records_per_shard=3), tmp_path / "out", processes=3)
    assert bytes_of(tmp_path / "out") == undisturbed
    assert len(undisturbed) == 5 + 3  # tars of 3, 3, 3, 3 and 2 records; index, shards, card


@pytest.mark.parametrize(("at_position", "processes"), [(1, 1), (6, 2), (13, 1)])
def test_killed_anywhere_it_goes_on_to_the_same_bytes(tmp_path, world, undisturbed, at_position, processes):
    (tmp_path / "world").write_bytes(pickle.dumps(world))
    command = [sys.executable, "-c", SLOW, str(tmp_path / "world"), str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == at_position:
                process.kill()
    assert process.returncode == -signal.SIGKILL
    finished = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("shard-*.tar")}
    assert len(finished) == at_position // 3
    shard(*world, Shard(records_per_shard=3), tmp_path / "out", processes=processes)
    assert bytes_of(tmp_path / "out") == undisturbed
    assert {path: path.stat().st_mtime_ns for path in finished} == finished, "a finished tar was written again"


def test_a_finished_tar_that_is_no_longer_what_it_was_is_written_again(tmp_path, world, undisturbed):
    (tmp_path / "world").write_bytes(pickle.dumps(world))
    command = [sys.executable, "-c", SLOW, str(tmp_path / "world"), str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if int(line) == 9)
        process.kill()
    first, second = tmp_path / "out" / "shard-000000.tar", tmp_path / "out" / "shard-000001.tar"
    damaged = bytearray(first.read_bytes())
    damaged[5000] ^= 1
    first.write_bytes(damaged)
    os.truncate(second, 1000)
    shard(*world, Shard(records_per_shard=3), tmp_path / "out", processes=1)
    assert bytes_of(tmp_path / "out") == undisturbed


WORKERS = """
import sys, time
from tinyllava_core.workers import run_parts

if __name__ == "__main__":
    for _ in run_parts(time.sleep, [0.0, 0.0, 60.0, 60.0], 2):
        print("done", flush=True)
"""


def started(tmp_path: Path) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """A program with two worker processes, both busy for a minute; give it and them."""
    (tmp_path / "work.py").write_text(WORKERS)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "work.py"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for _ in range(2):
        assert process.stdout.readline() == "done\n"
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    return process, children


def test_workers_end_when_their_parent_is_killed(tmp_path):
    process, children = started(tmp_path)
    process.kill()
    process.communicate()
    all_end(children)


def test_a_killed_worker_ends_all_with_advice(tmp_path):
    process, children = started(tmp_path)
    workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    workers[0].kill()
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "a worker process was ended from outside" in errors.splitlines()[-1]
    all_end(children)


def all_end(processes: list[psutil.Process]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any(alive(process) for process in processes):
        time.sleep(0.05)
    assert not any(alive(process) for process in processes)


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
