"""Is there room on the disk: asked before a big thing is written, and told in one line when a disk turns out to be full.

It knows nothing of what is written. Raises `DiskFull`, which is a BadInput: nobody but the person at the machine can mend it.
"""

from __future__ import annotations

import contextlib
import errno
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from tinyllava_core.errors import BadInput

RESERVE_BYTES = 64 << 20  # left to everybody else on the disk
_NOTHING_BYTES = 1 << 16
# What libraries say of a write that came up short: Python, Arrow, DuckDB and Rust (safetensors) hand on the system's words, SQLite,
# numpy and torch have their own. Each was provoked on a file system of 1 MB (tests/test_room.py).
_SAID = re.compile(
    "No space left on device|Disk quota exceeded|os error (28|122)\\b|database or disk is full"
    "|^\\d+ requested and \\d+ written|inline_container.*(unexpected pos|file write failed)"
)


class DiskFull(BadInput):
    """What was being written, where, how much room there is: one line. The same command goes on once there is room."""


def require_free(folder: Path, size_bytes: int, what: str) -> None:
    """Raise DiskFull unless `size_bytes` more fit on the disk of `folder`, which exists, and a reserve is left."""
    free = shutil.disk_usage(folder).free
    if size_bytes > 0 and size_bytes + RESERVE_BYTES > free:
        raise no_room(folder, size_bytes, what)


def no_room(folder: Path, size_bytes: int, what: str) -> DiskFull:
    """Make the error for a disk that is too small for what is known to come."""
    return DiskFull(
        f"{what}: needs {in_words(size_bytes)} more on the disk of {folder}, where {in_words(shutil.disk_usage(folder).free)} "
        "are free; make room, or give a workspace on a bigger disk"
    )


def is_full(error: BaseException) -> bool:
    """Tell whether a disk, or somebody's share of it, was full, from what the fault or one behind it says."""
    seen: set[int] = set()
    behind: BaseException | None = error
    while behind is not None and id(behind) not in seen:
        seen.add(id(behind))
        if isinstance(behind, DiskFull) or getattr(behind, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            return True
        if _SAID.search(str(behind)):
            return True
        behind = behind.__cause__ or behind.__context__
    return False


@contextlib.contextmanager
def told(what: str, folder: Path, clear: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Turn whatever a full disk raises inside the block into DiskFull: `what` was being written in `folder`.

    `clear` takes away what is half written, once it has been looked how much there is. A DiskFull from within keeps its text.
    """
    try:
        yield
    except Exception as error:
        if not is_full(error):
            raise
        full = error if isinstance(error, DiskFull) else disk_full(what, folder)
        with contextlib.suppress(OSError):
            clear()
        if full is error:
            raise
        raise full from error


def has_none(folder: Path) -> bool:
    """Tell whether next to nothing more fits on the disk of a folder: whatever failed there, that is why."""
    return shutil.disk_usage(there(folder)).free < _NOTHING_BYTES


def disk_full(what: str, folder: Path) -> DiskFull:
    """Make the error for a disk that was full in the middle of `what`: how much was written in `folder`, how much is free."""
    written = sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else 0
    return DiskFull(
        f"{what}: the disk of {folder} is full: {in_words(shutil.disk_usage(there(folder)).free)} are free, {in_words(written)} of "
        "it were written; make room and give the same command again: it goes on from what is finished"
    )


def there(folder: Path) -> Path:
    """Find the nearest of a path and the folders above it that is there."""
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())


def in_words(size_bytes: float) -> str:
    """Write a number of bytes for a person: 27.4 GB."""
    units = ["bytes", "kB", "MB", "GB", "TB"]
    power = 0
    while size_bytes >= 1000 and power < len(units) - 1:
        size_bytes /= 1000
        power += 1
    return f"{size_bytes:.{min(power, 1)}f} {units[power]}"
