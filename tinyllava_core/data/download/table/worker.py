"""img2dataset's downloader, asking politely: turns at each host, a floor below each connection, a note of each attempt.

img2dataset opens its URLs by `urllib.request.urlopen`, so an opener that is installed in its worker does all of it,
under each of its distributors. What becomes of the bytes is img2dataset's matter.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from img2dataset.downloader import Downloader

from tinyllava_core.data.download.table.attempt import Note
from tinyllava_core.data.web.opener import Floor, make_opener
from tinyllava_core.data.web.patience import Patience, retry_after_s
from tinyllava_core.data.web.polite import turn

LARGEST_BYTES = 256 << 20  # of one image; img2dataset would hold whatever comes in memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """How a worker asks, and where it notes what it saw."""

    patience: Patience
    notes: Path


class PoliteDownloader(Downloader):  # type: ignore[misc]
    """Fetches one shard of a URL table, in whatever process a distributor puts it."""

    def __init__(self, *, manners: Manners, **options: Any) -> None:
        super().__init__(**options)
        self._manners = manners

    def __call__(self, row: tuple[int, str]) -> tuple[bool, tuple[int, str]]:
        """Fetch the shard `row` (its number, its file); tell whether it was finished."""
        with _NotingOpener(self._manners, row[0]) as opener:
            urllib.request.install_opener(opener)  # type: ignore[arg-type]
            result: tuple[bool, tuple[int, str]] = super().__call__(row)
            return result


class _NotingOpener:
    """What `urlopen` calls: opens a URL when it is the host's turn, and notes how it went."""

    def __init__(self, manners: Manners, shard: int) -> None:
        patience = manners.patience
        self._patience = patience
        self._opener = make_opener(
            Floor(
                silence_s=patience.image_timeout_s,
                slowest_bytes_s=patience.slowest_bytes_s,
                window_s=patience.slow_window_s,
                longest_s=patience.image_longest_s,
            )
        )
        manners.notes.mkdir(parents=True, exist_ok=True)
        self._file = (manners.notes / f"{shard:05d}-{os.getpid()}-{time.time_ns()}.jsonl").open("w")
        self._writing = threading.Lock()

    def __enter__(self) -> _NotingOpener:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def open(self, request: urllib.request.Request, data: None = None, timeout: float | None = None) -> _Noted:
        """Open a URL as urllib does, and raise as it does."""
        url, patience = request.full_url, self._patience
        held = contextlib.ExitStack()
        held.enter_context(turn(url, connections=patience.connections_per_host, pause_s=patience.pause_s))
        noted = _Noted(self, url, held)
        try:
            noted.answer = held.enter_context(self._opener.open(request, data, timeout))
        except urllib.error.HTTPError as error:
            noted.status, noted.asked_s = error.code, retry_after_s(error.headers.get("Retry-After"))
            error.close()
            noted.close()
            raise
        except BaseException:
            noted.close()
            raise
        noted.status = noted.answer.status
        return noted

    def write(self, note: Note) -> None:
        """Add a line to the notes, at once: this process may be killed."""
        with self._writing:
            self._file.write(note.line())
            self._file.flush()


class _Noted:
    """An answer as img2dataset uses one; its end is noted, and gives the turn back."""

    def __init__(self, opener: _NotingOpener, url: str, held: contextlib.ExitStack) -> None:
        self._opener, self._url, self._held, self._began = opener, url, held, time.monotonic()
        self.answer: Any = None
        self.status: int | None = None
        self.asked_s = 0.0
        self._size = 0

    def __enter__(self) -> _Noted:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def headers(self) -> Any:
        return self.answer.headers

    def read(self) -> bytes:
        declared = self.answer.length  # None where the server does not say
        if declared is not None and declared > LARGEST_BYTES:
            raise ValueError(f"more than {LARGEST_BYTES} bytes")
        # with a number of bytes, http.client would not mind a body that is cut
        body: bytes = self.answer.read() if declared is not None else self.answer.read(LARGEST_BYTES + 1)
        self._size = len(body)
        if len(body) > LARGEST_BYTES:
            raise ValueError(f"more than {LARGEST_BYTES} bytes")
        return body

    def close(self) -> None:
        self._held.close()
        milliseconds = round(1000 * (time.monotonic() - self._began), 1)
        self._opener.write(
            Note(
                url=self._url,
                http_status=self.status,
                size_bytes=self._size,
                milliseconds=milliseconds,
                asked_s=self.asked_s,
            )
        )
