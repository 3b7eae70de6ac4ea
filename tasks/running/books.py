"""A run's rows on their way to the lineage. A disk that takes none now may do so later: they wait here, and the run goes on.

What a run makes does not hang on its books: an artifact is whole without them, and the next run that meets it leaves its rows.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.running.progress import LOG
from tinyllava_core.lineage import store
from tinyllava_core.room import DiskFull, is_full

_lock = threading.RLock()
_waiting: dict[
    Path, dict[tuple[str, str], Sequence[Mapping[str, Any]]]
] = {}  # workspace -> (table, key) -> rows, in order
_behind: set[Path] = set()  # the workspaces whose published file is older than their rows


def leave(workspace: Path, table: str, key: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Leave rows for a lineage table, after those that wait; where the disk is full, they wait too."""
    with _lock:
        _waiting.setdefault(workspace, {})[table, key] = rows
        _bring(workspace)


def publish(workspace: Path) -> None:
    """Publish the lineage with the rows that wait; where the disk is full, the published file stays as it is."""
    with _lock:
        if not _bring(workspace):
            return
    try:
        store.publish(workspace)
        _behind.discard(workspace)
    except Exception as error:
        if not is_full(error):
            raise
        if workspace not in _behind:
            LOG.warning("lineage   waits, the run goes on: %s", error)
        _behind.add(workspace)


def check(workspace: Path) -> None:
    """Raise DiskFull if rows still wait when their run is over."""
    with _lock:
        if not _bring(workspace):
            rows = _waiting.pop(workspace)
            raise DiskFull(
                f"lineage: the disk of {workspace / 'lineage'} is full, {len(rows)} fragments of this run could not be written; "
                "every artifact is whole: make room and give the same command again, it finds them and writes their rows"
            )


def _bring(workspace: Path) -> bool:
    """Leave what waits, as far as the disk takes it -> whether nothing waits."""
    waiting = _waiting.get(workspace, {})
    late = len(waiting) > 1
    while waiting:
        (table, key), rows = next(iter(waiting.items()))
        try:
            store.leave(workspace, table, key, rows)
        except Exception as error:
            if not is_full(error):
                del waiting[table, key]
                raise
            if not late:
                LOG.warning("lineage   rows wait, the run goes on: %s", error)
            return False
        del waiting[table, key]
    if late:
        LOG.info("lineage   the rows that waited are written")
    return True
