"""How fast something comes and how long it will take, in words for a progress line. It moves nothing."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from tinyllava_core.job import Progress
from tinyllava_core.room import in_words

OnProgress = Callable[[Progress], None]
_LOOK_BACK_S = 10.0  # the rate is that of the last so many seconds


class Pace:
    """The rate of a growing number of bytes, and when it will be all."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, done: int, total: int) -> str:
        """Say the rate and the time left, "12.3 MB/s, 4 min left"; "" before anything can be said. total 0: unknown."""
        now = self._clock()
        if self._seen and done < self._seen[-1][1]:  # begun anew
            self._seen.clear()
        self._seen.append((now, done))
        while len(self._seen) > 2 and self._seen[1][0] <= now - _LOOK_BACK_S:
            self._seen.popleft()
        seconds, gained = now - self._seen[0][0], done - self._seen[0][1]
        if seconds <= 0 or gained <= 0:
            return ""
        rate = gained / seconds
        left = f", {_duration((total - done) / rate)} left" if total > done else ""
        return f"{in_words(rate)}/s{left}"


class Teller:
    """Tells progress a few times a second at most, and the end of each part."""

    def __init__(self, on_progress: OnProgress | None) -> None:
        self._on_progress, self._last = on_progress, 0.0

    def bytes_of(self, name: str) -> Callable[[int, int], None]:
        pace = Pace()
        return lambda done, total: self(done, total, "bytes", " ".join((name, pace.note(done, total))).strip())

    def __call__(self, done: int, total: int, unit: str, note: str) -> None:
        now = time.monotonic()
        if self._on_progress and (done == total or now - self._last > 0.2):
            self._last = now
            self._on_progress(Progress(done=done, total=total, unit=unit, note=note))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
