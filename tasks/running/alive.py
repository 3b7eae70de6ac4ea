"""Which flow runs are alive. Each holds a lock while it runs; those that Prefect takes for running without it were killed.

A server that a run starts for itself is known the same way: one whose run holds its lock no more is taken away.

Prefect itself learns of a killed run only through a worker that saw it die; all others would stay Running for ever.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from filelock import FileLock, Timeout

from tinyllava_core import process_tree as tree


def home(workspace: Path) -> Path:
    """Give the folder of a workspace that is Prefect's: its database, its logs, the locks of live runs."""
    return workspace.resolve() / ".prefect"


@contextlib.contextmanager
def alive(workspace: Path, flow_run_id: str | None) -> Iterator[None]:
    """Hold the lock of a flow run for as long as the block runs. The system lets go of it however this process ends."""
    if flow_run_id is None:
        yield
        return
    lock = _lock(workspace, flow_run_id)
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def is_cancelled(flow_run_id: UUID | str) -> bool:
    """Ask Prefect whether somebody cancelled a flow run. No answer is no."""
    from prefect import get_client
    from prefect.client.schemas.objects import StateType

    with contextlib.suppress(Exception), get_client(sync_client=True) as client:
        state = client.read_flow_run(UUID(str(flow_run_id))).state
        return state is not None and state.type in (StateType.CANCELLING, StateType.CANCELLED)
    return False


def bury(workspace: Path) -> list[str]:
    """Mark the killed runs of this workspace Crashed in Prefect. Gives their names."""
    from prefect import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
    from prefect.client.schemas.objects import StateType
    from prefect.states import Crashed

    running = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING])))
    buried = []
    with get_client(sync_client=True) as client:
        for flow_run in client.read_flow_runs(flow_run_filter=running):
            if _was_killed(_lock(workspace, str(flow_run.id))):
                client.set_flow_run_state(flow_run.id, Crashed(message="Its process was killed."), force=True)
                buried.append(flow_run.name)
    return buried


@contextlib.contextmanager
def owned(workspace: Path, mark: str) -> Iterator[None]:
    """Hold the lock of a process tree of this run, a server, for as long as the block runs."""
    lock = home(workspace) / "servers" / mark
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def end_orphans(workspace: Path) -> int:
    """End the servers that killed runs left behind, whose watchdogs were killed with them. Gives how many."""
    left = [lock for lock in (home(workspace) / "servers").glob("*") if _was_killed(lock)]
    for lock in left:
        tree.end(lock.name, grace_s=10)
    return len(left)


def _lock(workspace: Path, flow_run_id: str) -> Path:
    return home(workspace) / "running" / flow_run_id


def _was_killed(lock: Path) -> bool:
    """Tell whether a run took its lock and holds it no more. Without the file it is not ours to judge."""
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            pass
    except Timeout:
        return False
    lock.unlink(missing_ok=True)
    return True
