"""Which runs of a workspace still have their process: each holds a lock, which the system lets go of however it ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from tinyllava_core.lineage.fragments import fragments, leave


@contextlib.contextmanager
def running(workspace: Path, run_id: str) -> Iterator[None]:
    """Hold a run's lock for as long as the block runs."""
    lock = _home(workspace) / f"{run_id}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def tell_killed(workspace: Path) -> bool:
    """Leave a row for every run whose process is gone and did not say how the run ended -> whether there was one."""
    found = False
    for lock in sorted(_home(workspace).glob("*.lock")):
        run_id = lock.stem
        with contextlib.suppress(Timeout), FileLock(lock, timeout=0):
            if not (fragments(workspace) / "run_end" / f"{run_id}.parquet").is_file():
                leave(workspace, "killed", run_id, [{"run_id": run_id, "found_at": datetime.now(UTC)}])
                found = True
            lock.unlink(missing_ok=True)
    return found


def at_work(workspace: Path) -> list[str]:
    """Name the runs whose process is there."""
    tell_killed(workspace)
    return [lock.stem for lock in sorted(_home(workspace).glob("*.lock"))]


def _home(workspace: Path) -> Path:
    return workspace.resolve() / "lineage" / "running"
