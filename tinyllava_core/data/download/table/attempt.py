"""Every attempt at every row of a URL table: noted by the process that made it, gathered for attempts.parquet."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tinyllava_core.data.download.table.fault import FetchFault

ATTEMPT_SCHEMA = pa.schema(
    [
        ("url", pa.string()),
        ("name", pa.string()),
        ("attempt", pa.int16()),
        ("reason", pa.string()),
        ("http_status", pa.int16()),
        ("size_bytes", pa.int64()),
        ("milliseconds", pa.float64()),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What the process that asked for a URL saw: one line of its notes."""

    url: str
    http_status: int | None  # None: no answer
    size_bytes: int
    milliseconds: float  # from the moment it was the host's turn
    asked_s: float = 0.0  # the server's Retry-After

    def line(self) -> str:
        """Write this as one line."""
        return json.dumps(asdict(self)) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt at one row: a row of attempts.parquet."""

    url: str
    name: str
    attempt: int  # from 0; a later one is in a later pass over the table
    reason: FetchFault | None  # None: the file came
    http_status: int | None
    size_bytes: int | None
    milliseconds: float | None


class Notes:
    """The notes of one pass, by URL; a URL that stands in several rows was asked for several times."""

    def __init__(self, folder: Path) -> None:
        self._by_url: dict[str, list[Note]] = {}
        for file in sorted(folder.glob("*.jsonl")):
            for note in _read(file):
                self._by_url.setdefault(note.url, []).append(note)

    def take(self, url: str) -> Note | None:
        """Give the latest note of a URL, each once as long as there are several."""
        notes = self._by_url.get(url)
        if not notes:
            return None
        return notes.pop() if len(notes) > 1 else notes[0]


def _read(file: Path) -> Iterator[Note]:
    for line in file.read_text(errors="replace").splitlines():
        with contextlib.suppress(ValueError, TypeError):  # the last line of a process that was killed
            yield Note(**json.loads(line))


def write_attempts(attempts: Sequence[Attempt], path: Path) -> None:
    """Write attempts.parquet."""
    columns = {name: [getattr(attempt, name) for attempt in attempts] for name in ATTEMPT_SCHEMA.names}
    columns["reason"] = [None if reason is None else reason.value for reason in columns["reason"]]
    pq.write_table(pa.table(columns, schema=ATTEMPT_SCHEMA), path)
