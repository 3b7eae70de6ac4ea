"""Which flow runs are alive: a lock that the system lets go of, and Prefect told of those that were killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from uuid import UUID

from tasks.running.alive import alive, bury


def start_run(state) -> UUID:
    from prefect import flow, get_client

    @flow(name="tinyllava")
    def story() -> None: ...

    with get_client(sync_client=True) as client:
        return client.create_flow_run(story, state=state).id


def state_of(flow_run_id: UUID) -> str:
    from prefect import get_client

    with get_client(sync_client=True) as client:
        state = client.read_flow_run(flow_run_id).state
    assert state is not None
    return state.name


def hold_and_die(workspace: Path, flow_run_id: UUID) -> None:
    """Hold a run's lock in another process, and kill -9 it."""
    script = f"""
import time
from pathlib import Path
from tasks.running.alive import alive
with alive(Path({str(workspace)!r}), {str(flow_run_id)!r}):
    print("alive", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def test_a_killed_run_becomes_crashed_and_a_living_one_is_left_alone(prefect_server: str, tmp_path: Path) -> None:
    from prefect.states import Running

    killed, living, elsewhere = (start_run(Running()) for _ in range(3))
    hold_and_die(tmp_path, killed)
    with alive(tmp_path, str(living)):
        assert len(bury(tmp_path)) == 1
    assert [state_of(run) for run in (killed, living, elsewhere)] == ["Crashed", "Running", "Running"]
    assert bury(tmp_path) == []


def test_a_run_that_ends_leaves_no_lock(tmp_path: Path) -> None:
    with alive(tmp_path, "some-run"):
        assert [file.name for file in (tmp_path / ".prefect" / "running").iterdir()] == ["some-run"]
    assert list((tmp_path / ".prefect" / "running").iterdir()) == []


def test_without_prefect_there_is_nothing_to_hold(tmp_path: Path) -> None:
    with alive(tmp_path, None):
        assert list(tmp_path.iterdir()) == []
