"""Do the parts of a stage in several processes of this machine that end with this one. It knows no stage.

A part is a pure function of its arguments that leaves a file, so it does not matter which process does it, or when.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from pathlib import Path
from typing import Protocol, TypeVar

Part = TypeVar("Part")
Done = TypeVar("Done")

SHARED = Path(
    "/dev/shm"
)  # where Linux keeps locks and memory of several processes; few MB in a container (docker run --shm-size)


class RunParts(Protocol):
    """What does the parts of a stage: `run_parts`, or one that has them done on other machines (tasks/running/parts.py)."""

    def __call__(
        self, do: Callable[[Part], Done], parts: Iterable[Part], processes: int
    ) -> Iterator[tuple[Part, Done]]:
        """Do every part -> (part, what it gave), in any order. `processes`: as many as this machine should start."""
        ...


def num_cpus() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cannot_share(num_files: int = 256, size_bytes: int = 1 << 25) -> str | None:
    """Say why processes of this machine cannot hold a lock between them and hand each other so much at a time; None: they can."""
    try:
        multiprocessing.get_context("spawn").Lock()
    except OSError as error:
        return f"no lock can be made in {SHARED}: {error.strerror}"
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < num_files:
        return f"fewer than {num_files} files may be open (ulimit -n)"
    if SHARED.is_dir() and shutil.disk_usage(SHARED).free < size_bytes:
        return f"fewer than {size_bytes:,} bytes are free in {SHARED}"
    return None


def run_parts(do: Callable[[Part], Done], parts: Iterable[Part], processes: int) -> Iterator[tuple[Part, Done]]:
    """Do every part -> (part, what it gave), in the order in which they are done. `do` must be a module's function.

    One process: here. The first exception of a part ends all; what other parts have left stays. Where processes cannot hold a lock
    between them (no /dev/shm), this one does all.
    """
    waiting = list(parts)
    if processes <= 1 or len(waiting) <= 1 or cannot_share(num_files=0, size_bytes=0):
        for part in waiting:
            yield part, do(part)
        return
    # Spawned, not forked: a flow's process has threads. What they import is as little as `do`'s module does.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(waiting)), mp_context=spawn, initializer=_end_with_parent) as pool:
        futures = {pool.submit(do, part): part for part in waiting}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool:
            raise RuntimeError(
                "a worker process was ended from outside, as the kernel does when memory runs out; "
                "run again: finished parts are kept (fewer processes need less memory: launch.data_processes)"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _end_with_parent() -> None:
    """Watch the process that started this one, and end when it does, however it ends: a killed one tells nobody."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_wait_for, args=(parent.sentinel,), daemon=True).start()


def _wait_for(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
