"""What survives a power cut: a file or a folder is on the disk before its name is, and the name before anyone goes on.

A rename alone is no promise: after a power cut the new name may stand for a file whose bytes were never written.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

from tinyllava_core.errors import BadInput

MANY = 500  # files: from here on the whole file system is told at once, which costs less than each file's own turn


def publish(aside: Path, final: Path) -> None:
    """Give a finished file or folder its name. After a power cut it is there whole, or not at all.

    Raises BadInput where something stands there that no file may take the place of: /dev/null would be gone for everybody.
    """
    if final.exists() and not (final.is_file() or final.is_dir()):
        if aside.is_file():
            aside.unlink()
        raise BadInput(f"{final}: is a device, a pipe or a socket, which a file would replace; name a file")
    sync(aside)
    aside.rename(final)
    sync_folder(final.parent)


def sync(path: Path) -> None:
    """Have a file, or a folder with all that is in it, on the disk when this returns."""
    if not path.is_dir():
        _sync(path)
        return
    folders, files = [], []
    for folder, _, names in os.walk(path):
        folders.append(Path(folder))
        files += [file for name in names if not (file := Path(folder, name)).is_symlink()]
    if len(files) >= MANY and _sync_file_system(path):
        return
    for file in files:
        _sync(file)
    for inner in reversed(folders):
        sync_folder(inner)


def sync_folder(folder: Path) -> None:
    """Have a folder's names on the disk when this returns; some network file systems cannot be asked."""
    with contextlib.suppress(OSError):
        _sync(folder)


def _sync(path: Path) -> None:
    held = os.open(path, os.O_RDONLY)
    try:
        os.fsync(held)
    finally:
        os.close(held)


def _sync_file_system(path: Path) -> bool:
    """Write out everything of the file system that holds `path`; False where the system does not offer it."""
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        return False
    held = os.open(path, os.O_RDONLY)
    try:
        return bool(syncfs(held) == 0)
    finally:
        os.close(held)
