"""A process with everything it starts, ended as one. It knows nothing of jobs, of Prefect or of what the process does.

Ranks of torchrun live in sessions of their own and outlive their launcher, and img2dataset waits for ever when one of
its workers is killed and leaves them behind when it is killed itself: so neither a process group nor the list of
children finds them all, and an exit code decides nothing. Every process of a tree is known by a mark in its
environment, which it inherits. A watchdog (this file, run as a program) ends the tree if the process that started it
dies without a chance to do so itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

MARKS = "TINYLLAVA_TREES"  # environment variable: the marks of all trees a process belongs to, outermost first
GRACE_S = 20.0  # from SIGTERM to SIGKILL; Prefect itself kills a cancelled flow after 30 s
_LOOK_S = 0.2  # how often `run_watched` looks at what it runs
_STUCK_S = 10.0  # after SIGKILL, a process that is still there waits in the kernel: nothing more can be done


class Stalled(RuntimeError):
    """A tree did nothing visible for too long and was ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A started process, in a session of its own, and what is needed to end it with all its offspring."""

    process: subprocess.Popen[bytes]
    mark: str
    watchdog: subprocess.Popen[bytes] | None

    def end(self, grace_s: float = GRACE_S) -> None:
        """End every process of the tree: SIGTERM, a grace, SIGKILL."""
        end(self.mark, grace_s, reap=self.process)
        self.release()

    def release(self) -> None:
        """Let the watchdog go: the tree has ended, or may live on."""
        if self.watchdog is not None:
            self.watchdog.kill()
            self.watchdog.wait()


def plant(
    command: Sequence[str],
    output: IO[bytes],
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    guarded: bool = True,
    grace_s: float = GRACE_S,
    mark: str | None = None,
) -> Tree:
    """Start a process whose output, and that of all it starts, goes to a file. `guarded`: it dies when this process dies.

    `mark`: of a tree that was ended by somebody else, and grows again; who guards and who ends that one does so with this one.
    """
    mark = mark or uuid.uuid4().hex
    inherited = os.environ | dict(environment or {})
    marked = inherited | {MARKS: ":".join(filter(None, (os.environ.get(MARKS), mark)))}
    marked["PYTHONPATH"] = without_back_port(inherited.get("PYTHONPATH", ""))
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=marked,
        cwd=folder,
        start_new_session=True,
    )
    watchdog = None
    if guarded:
        # -P: this folder must not come first on the path, where a file of ours could shadow a standard module.
        watchdog = subprocess.Popen(
            [sys.executable, "-P", __file__, str(os.getpid()), mark, str(grace_s)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": marked["PYTHONPATH"]},
            start_new_session=True,
        )
    return Tree(process=process, mark=mark, watchdog=watchdog)


def run_watched(
    command: Sequence[str],
    *,
    log: Path,
    progress: Callable[[], Hashable],
    stall_s: float,
    environment: Mapping[str, str] | None = None,
) -> int:
    """Run `command` as a guarded tree and give its exit code; its output is appended to `log`.

    `progress()` is called a few times a second; if its value stays the same for `stall_s` seconds, Stalled is raised.
    Whatever happens, also SIGKILL of this process, no process of the tree is left: what is still there at the end is
    killed without a grace, so only commands whose work can be gone on with belong here.
    """
    with log.open("ab") as output:
        tree = plant(command, output, environment=environment, grace_s=0.0)
    try:
        seen, since = progress(), time.monotonic()
        while tree.process.poll() is None:
            time.sleep(_LOOK_S)
            now = progress()
            if now != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > stall_s:
                raise Stalled(f"nothing happened for {stall_s:g} s: {' '.join(command)} was ended; its output: {log}")
        progress()
        return tree.process.returncode
    finally:
        tree.end(grace_s=0.0)


def without_back_port(path: str) -> str:
    """Take the folders that hold a `dataclasses.py` out of a PYTHONPATH.

    The back-port that img2dataset drags into site-packages would shadow the standard module, and Prefect puts
    site-packages on the path of what it starts.
    """
    return os.pathsep.join(
        folder for folder in path.split(os.pathsep) if folder and not (Path(folder) / "dataclasses.py").exists()
    )


def members(mark: str) -> list[psutil.Process]:
    """List the living processes of a tree: those that carry its mark, and their children."""
    found: set[psutil.Process] = set()
    for process in psutil.process_iter():
        try:
            if mark in process.environ().get(MARKS, "").split(":"):
                found |= {process, *process.children(recursive=True)}
        except (psutil.Error, OSError):
            continue  # it ended meanwhile, or is another user's
    return [process for process in found if _alive(process)]


def end(mark: str, grace_s: float = GRACE_S, reap: subprocess.Popen[bytes] | None = None) -> None:
    """Send SIGTERM to every process of a tree, and SIGKILL to those that are left after the grace."""
    deadline = time.monotonic() + grace_s
    told: set[psutil.Process] = set()
    while (left := members(mark)) and time.monotonic() < deadline + _STUCK_S:
        late = time.monotonic() >= deadline
        for process in left:
            if late or process not in told:
                _tell(process, signal.SIGKILL if late else signal.SIGTERM)
                told.add(process)
        if reap is not None:
            reap.poll()
        time.sleep(0.1)
    if reap is not None:
        reap.poll()


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _tell(process: psutil.Process, what: signal.Signals) -> None:
    try:
        process.send_signal(what)
    except psutil.Error:
        return  # it ended meanwhile


def watch(parent: int, mark: str, grace_s: float) -> None:
    """Wait until this process has lost its parent, then end the tree."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a signal to the whole family is not meant to blind the guard
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while os.getppid() == parent:
        time.sleep(0.3)
    end(mark, grace_s)


if __name__ == "__main__":
    watch(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
