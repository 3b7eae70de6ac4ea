"""img2dataset's downloader, asking politely: turns at each host, a floor below each connection, a note of each attempt.

img2dataset opens its URLs by `urllib.request.urlopen`, so an opener that is installed in its worker does all of it,
under each of its distributors. What becomes of the bytes is img2dataset's matter.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPMessage
from pathlib import Path
from typing import Any

import httpx
from img2dataset.downloader import Downloader

from tinyllava_core.data.download.table.attempt import Note
from tinyllava_core.data.web.address import Refused
from tinyllava_core.data.web.opener import MISLED, Floor, open_url
from tinyllava_core.data.web.patience import Patience, retry_after_s
from tinyllava_core.data.web.polite import turn

LARGEST_BYTES = 256 << 20  # of one image; img2dataset would hold whatever comes in memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """How a worker asks, and where it notes what it saw."""

    patience: Patience
    notes: Path
    asked: frozenset[str]  # hosts that need not be public


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
        self._patience, self._asked = patience, manners.asked
        self._floor = Floor(
            silence_s=patience.image_timeout_s,
            slowest_bytes_s=patience.slowest_bytes_s,
            window_s=patience.slow_window_s,
            longest_s=patience.image_longest_s,
        )
        manners.notes.mkdir(parents=True, exist_ok=True)
        self._file = (manners.notes / f"{shard:05d}-{os.getpid()}-{time.time_ns()}.jsonl").open("w")
        self._writing = threading.Lock()

    def __enter__(self) -> _NotingOpener:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def open(self, request: urllib.request.Request, data: None = None, timeout: float | None = None) -> _Noted:
        """Open a URL as urllib does. What it raises says in its text what fault it is (see fault.py)."""
        url, patience = request.full_url, self._patience
        held = contextlib.ExitStack()
        held.enter_context(turn(url, connections=patience.connections_per_host, pause_s=patience.pause_s))
        noted = _Noted(self, url, held)
        try:
            with _told():
                headers = dict(request.header_items())
                noted.answer = held.enter_context(open_url(url, self._floor, asked=self._asked, headers=headers))
            noted.status = noted.answer.status_code
            if noted.status != 200:
                noted.asked_s = retry_after_s(noted.answer.headers.get("Retry-After"))
                raise OSError(f"HTTP Error {noted.status}: {noted.answer.reason_phrase}")
        except BaseException:
            noted.close()
            raise
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
        self.answer: httpx.Response
        self.status: int | None = None
        self.asked_s = 0.0
        self._size = 0

    def __enter__(self) -> _Noted:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def headers(self) -> HTTPMessage:
        """The headers as urllib gives them."""
        found = HTTPMessage()
        for name, value in self.answer.headers.multi_items():
            found[name] = value
        return found

    def read(self) -> bytes:
        """Read the whole body. Raises ValueError if it is too big, or as `open` does."""
        body = bytearray()
        with _told():
            for chunk in self.answer.iter_raw():
                body += chunk
                self._size = len(body)
                if len(body) > LARGEST_BYTES:
                    raise ValueError(f"more than {LARGEST_BYTES} bytes")
        return bytes(body)

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


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Give what the libraries raise a text that fault.py knows."""
    try:
        yield
    except MISLED:
        raise OSError("redirected in a circle, too often, or to what is no http(s) URL") from None
    except (Refused, TimeoutError, socket.gaierror):
        raise
    except httpx.TimeoutException:
        raise TimeoutError("timed out") from None
    except httpx.RemoteProtocolError as error:
        cut = "without sending complete message body" in str(error)
        raise OSError(str(error) if cut else f"Connection failed: {error}") from None
    except (httpx.TransportError, OSError) as error:
        raise OSError(f"Connection failed: {error or type(error).__name__}") from None
