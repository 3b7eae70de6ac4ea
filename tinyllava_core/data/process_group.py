"""Run a command with all its children as one group that never outlives us and never hangs. It knows no img2dataset.

img2dataset waits for ever when one of its workers is killed, leaves its workers behind when it is killed itself, and
exits with 0 after Ctrl-C: so its group is watched from outside, and its exit code decides nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path

_LOOK_S = 0.2


class Stalled(RuntimeError):
    """The group did nothing visible for too long and was ended."""


def run_group(
    command: Sequence[str], *, env: Mapping[str, str], log: Path, progress: Callable[[], Hashable], stall_s: float
) -> int:
    """Run `command` in a session of its own and give its exit code; its output is appended to `log`.

    `progress()` is called a few times a second; if its value stays the same for `stall_s` seconds, Stalled is raised.
    Whatever happens, no process of the group is left. The command should call `die_with_parent` first thing, in each of
    its processes, so that this also holds when we are ended by SIGKILL.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            seen, since = progress(), time.monotonic()
            while process.poll() is None:
                time.sleep(_LOOK_S)
                now = progress()
                if now != seen:
                    seen, since = now, time.monotonic()
                elif time.monotonic() - since > stall_s:
                    raise Stalled(
                        f"nothing happened for {stall_s:g} s: {' '.join(command)} was ended; its output: {log}"
                    )
            progress()
            return process.returncode
        finally:
            end_group(process)


def end_group(process: subprocess.Popen[bytes], patience_s: float = 10.0) -> None:
    """Kill every process of the group that `process` leads, and wait until they are gone."""
    deadline = time.monotonic() + patience_s
    with contextlib.suppress(ProcessLookupError, PermissionError):
        while time.monotonic() < deadline:
            os.killpg(process.pid, signal.SIGKILL)  # raises ProcessLookupError once the group is empty
            process.poll()
            time.sleep(0.02)
    process.wait(timeout=patience_s)


def die_with_parent(parent_pid: int | None = None) -> None:
    """Ask Linux to kill this process when its parent ends, however the parent ends. Elsewhere it does nothing.

    `parent_pid`: the parent that should be there; if another one is by now, this process ends at once. To Linux the
    parent is the thread that started the child: `run_group` waits in it, so it lives as long.
    """
    if sys.platform != "linux":
        return
    import ctypes

    pr_set_pdeathsig = 1  # <sys/prctl.h>
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)
    if parent_pid is not None and os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)


def clean_environment(**extra: str) -> dict[str, str]:
    """Give our environment for a child, less what would break it, plus `extra`.

    A folder of PYTHONPATH that holds a `dataclasses.py` goes: the back-port that img2dataset drags in would shadow the
    standard module (Prefect puts site-packages there).
    """
    env = dict(os.environ)
    folders = [folder for folder in env.pop("PYTHONPATH", "").split(os.pathsep) if folder]
    if kept := [folder for folder in folders if not (Path(folder) / "dataclasses.py").exists()]:
        env["PYTHONPATH"] = os.pathsep.join(kept)
    return env | extra
