"""A watchdog: when no step ends in time it says which one, shows every thread's stack, and ends the process.

A rank that hangs in a collective cannot be helped from inside; ended, its launcher ends the others, and the run goes on from
the last saved state.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable

EXIT_CODE = 70  # EX_SOFTWARE of sysexits.h


class Watchdog:
    """Ends this process unless `beat` is called often enough; used as a context."""

    def __init__(self, timeout_s: float | None, describe: Callable[[int], str]) -> None:
        self._timeout_s, self._describe = timeout_s, describe
        self._last, self._step = time.monotonic(), -1
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        if self._timeout_s is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def beat(self, step: int) -> None:
        """Say that `step` begins now."""
        self._step, self._last = step, time.monotonic()

    def _watch(self) -> None:
        assert self._timeout_s is not None
        while not self._over.wait(min(1.0, self._timeout_s / 4)):
            waited = time.monotonic() - self._last
            if waited > self._timeout_s:
                print(
                    f"step {self._step} has not ended in {waited:.0f} s (watch.step_timeout_s = {self._timeout_s:g}); {self._describe(self._step)}",
                    file=sys.stderr,
                    flush=True,
                )
                faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
                sys.stderr.flush()
                os._exit(EXIT_CODE)
