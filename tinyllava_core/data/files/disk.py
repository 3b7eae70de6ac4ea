"""Is there room on the disk for what is about to be written? Asked before, so that the answer is one clear error."""

from __future__ import annotations

import shutil
from pathlib import Path

from tinyllava_core.errors import BadInput

RESERVE_BYTES = 64 << 20  # left to everybody else on the disk


def require_free(folder: Path, size_bytes: int, what: str) -> None:
    """Raise BadInput unless `size_bytes` more fit on the disk of `folder`, which exists, and a reserve is left."""
    free = shutil.disk_usage(folder).free
    if size_bytes > 0 and size_bytes + RESERVE_BYTES > free:
        raise no_room(folder, size_bytes, what)


def no_room(folder: Path, size_bytes: int, what: str) -> BadInput:
    """Make the error for a disk that is too small, or full."""
    return BadInput(
        f"{what}: needs {in_words(size_bytes)} more on the disk of {folder}, where {in_words(shutil.disk_usage(folder).free)} "
        "are free; make room, or give a workspace on a bigger disk"
    )


def in_words(size_bytes: float) -> str:
    """Write a number of bytes for a person: 27.4 GB."""
    units = ["bytes", "kB", "MB", "GB", "TB"]
    power = 0
    while size_bytes >= 1000 and power < len(units) - 1:
        size_bytes /= 1000
        power += 1
    return f"{size_bytes:.{min(power, 1)}f} {units[power]}"
