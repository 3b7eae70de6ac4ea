"""Take turns at a host: so many connections at once and a pause between requests, over all threads and processes here.

Held by locks on small files in the machine's temporary folder; a process that is killed gives its turns back.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

from tinyllava_core.errors import BadInput

_SHORTEST_LOOK_S, _LONGEST_LOOK_S = 0.005, 0.1  # between two looks for a free slot
_LONGEST_PACE_S = 60.0  # a later appointment than this was made by a clock that was set back since


@contextlib.contextmanager
def turn(url: str, *, connections: int, pause_s: float) -> Iterator[None]:
    """Wait until the host of `url` may be asked, and hold one of its connections for the length of the block."""
    folder = _folder(url)
    slot = _take_slot(folder, connections)
    try:
        if pause_s > 0:
            time.sleep(_appointment(folder, pause_s))
        yield
    finally:
        os.close(slot)  # closing gives the lock back


def _folder(url: str) -> Path:
    home = Path(tempfile.gettempdir()) / f"tinyllava-hosts-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        home.mkdir(mode=0o700)
    found = home.lstat()
    # in a folder where everybody may write, somebody else may have been first
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise BadInput(
            f"{home}: is a link, or others may write there; remove it, or set TMPDIR to a folder that is yours alone"
        )
    place = urlsplit(url)
    folder = home / quote(f"{place.hostname or 'none'}:{place.port or place.scheme}", safe="")[:200]
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _take_slot(folder: Path, connections: int) -> int:
    """Lock one of the host's slots: whichever is free first. No lock waits for several files, so they are tried in turn."""
    first, wait_s = random.randrange(connections), _SHORTEST_LOOK_S
    while True:
        for number in range(connections):
            name = f"{(first + number) % connections}.slot"
            slot = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return slot
            except BlockingIOError:
                os.close(slot)
        time.sleep(wait_s * random.uniform(0.5, 1.0))
        wait_s = min(2 * wait_s, _LONGEST_LOOK_S)


def _appointment(folder: Path, pause_s: float) -> float:
    """Give the seconds to wait until this request may be sent, and move the host's next appointment behind it."""
    book = os.open(folder / "next", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(book, fcntl.LOCK_EX)
        now = time.time()
        try:
            start = max(now, float(os.pread(book, 32, 0)))
        except ValueError:  # the first one
            start = now
        if start - now > _LONGEST_PACE_S:
            start = now
        os.pwrite(book, f"{start + pause_s:<32.6f}".encode(), 0)
        return start - now
    finally:
        os.close(book)
