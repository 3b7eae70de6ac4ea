"""Tars of a mix in a store (s3://, gs://): put there, found again, and read from there. Which records they hold it does not know.

A tar is named by its sha256: another tar never has its name, and mixes that share a tar store it once.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
from filelock import FileLock

from tinyllava_core.artifact import file_sha256
from tinyllava_core.data.web import remote
from tinyllava_core.durable import publish
from tinyllava_core.errors import BadInput

ReadAt = Callable[[int, int], bytes]  # (offset, bytes)
_BLOCK = 8 << 20  # bytes asked for at a time when a stored tar is read through
_LEFT_FREE = 0.1  # of the disk: a cached tar that would take more is read in pieces from the store instead


@dataclass(frozen=True, slots=True, kw_only=True)
class Tar:
    """One row of shards.parquet: where a tar is, and what its bytes are."""

    name: str
    size_bytes: int
    sha256: str
    url: str | None  # None: in the artifact's own folder


def read_tars(shards: Path) -> list[Tar]:
    """Read which tars a shard artifact has, in order."""
    rows = pq.read_table(shards / "shards.parquet", columns=["name", "size_bytes", "sha256", "url"]).to_pylist()
    return [Tar(**row) for row in rows]


def url_of(store: str, sha256: str) -> str:
    """Name a tar in a store."""
    return remote.join(store, f"{sha256}.tar")


def is_held(store: str, size_bytes: int, sha256: str) -> bool:
    """Tell whether a store has a tar, read through to its last byte. Raises as remote.size does."""
    url = url_of(store, sha256)
    return remote.exists(url) and remote.size(url) == size_bytes and _stored_sha256(url, size_bytes) == sha256


def put(tar: Path, store: str, size_bytes: int, sha256: str) -> None:
    """Upload a tar, unless the store has it. Raises ConnectionError if it did not arrive whole, and as remote.size does."""
    if is_held(store, size_bytes, sha256):
        return
    url = url_of(store, sha256)
    remote.upload(tar, url)
    arrived = remote.size(url)
    if arrived != size_bytes:
        raise ConnectionError(f"{url}: {arrived} bytes arrived of {size_bytes}; run it again")


def reader(tar: Tar, shards: Path) -> ReadAt:
    """Give what reads pieces of a tar: of its file, of a copy in the workspace's cache, or of the store where there is no room.

    Raises BadInput if the store does not have the tar any more, or has other bytes.
    """
    if tar.url is None:
        file = shards / tar.name
    else:
        found = _cached(tar, tar.url, cache_folder(shards))
        if found is None:
            url = tar.url
            return lambda offset, num_bytes: remote.read_range(url, offset, num_bytes)
        file = found
    opened = os.open(file, os.O_RDONLY)
    return lambda offset, num_bytes: os.pread(opened, num_bytes, offset)


def cache_folder(shards: Path) -> Path:
    """Name the folder of tars that came from stores: cache/tars of the workspace that holds `artifacts/shard/FINGERPRINT`."""
    return shards.absolute().parents[2] / "cache" / "tars"


def _cached(tar: Tar, url: str, cache: Path) -> Path | None:
    """Copy a tar here once, whoever asks, going on after a kill; None if the disk has no room for it."""
    file = cache / f"{tar.sha256}.tar"
    if file.is_file():
        return file
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f".{tar.sha256}.lock"):
        if file.is_file():
            return file
        if not _has_room(cache, tar.size_bytes):
            return None
        unchecked = cache / f".{tar.sha256}.unchecked"
        remote.copy_here(url, unchecked)
        if file_sha256(unchecked) != tar.sha256:
            unchecked.unlink()
            raise BadInput(
                f"{url}: the store has other bytes than were put there; remove it and the artifact of stage shard, and run again"
            )
        publish(unchecked, file)
    return file


def _has_room(folder: Path, size_bytes: int) -> bool:
    disk = shutil.disk_usage(folder)
    return disk.free - size_bytes > _LEFT_FREE * disk.total


def _stored_sha256(url: str, size_bytes: int) -> str:
    found = hashlib.sha256()
    for start in range(0, size_bytes, _BLOCK):
        found.update(remote.read_range(url, start, min(_BLOCK, size_bytes - start)))
    return found.hexdigest()
