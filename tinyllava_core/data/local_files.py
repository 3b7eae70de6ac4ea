"""The files of a manifest that are on this disk already: found, hashed, counted. Nothing is copied or changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from tinyllava_core.artifact import file_sha256
from tinyllava_core.data.manifest import Manifest
from tinyllava_core.errors import BadInput


def local_digest(manifest: Manifest) -> str | None:
    """Hash what a manifest's local files are now, for the fingerprint; None if it names none.

    The annotations by content; the image folders, which may be big, by their place and their files' names, sizes and times.
    Raises BadInput if a local file is missing.
    """
    digest = hashlib.sha256()
    parts = 0
    for path in _local_files(manifest):
        digest.update(f"{path}\t{file_sha256(path)}\n".encode())
        parts += 1
    for root in local_folders(manifest):
        digest.update(f"{root}\n".encode())
        for name, stat in sorted(_walk(root)):
            digest.update(f"{name}\t{stat.st_size}\t{stat.st_mtime_ns}\n".encode(errors="surrogateescape"))
        parts += 1
    return digest.hexdigest() if parts else None


def _local_files(manifest: Manifest) -> list[Path]:
    found = [("annotations.path", manifest.annotations.path)] if manifest.annotations else []
    found += [("url_table.path", images.url_table.path) for images in manifest.images if images.url_table]
    return [local_file(manifest, key, path) for key, path in found if path is not None]


def local_file(manifest: Manifest, key: str, path: str) -> Path:
    """Give a local file of a manifest. Raises BadInput, naming the manifest's key, if it is not there."""
    file = manifest.local(path)
    if not file.is_file():
        raise BadInput(
            f"manifest {manifest.name!r}: {key}: no file {file} (relative paths start at the manifest's folder)"
        )
    return file


def local_folders(manifest: Manifest) -> list[Path]:
    """Give the local image folders of a manifest. Raises BadInput if one is not there."""
    for folder in manifest.folders:
        if not folder.is_dir():
            raise BadInput(
                f"manifest {manifest.name!r}: images.folder: no folder {folder} (relative paths start at the manifest's folder)"
            )
    return manifest.folders


def check_sum(path: Path, expected: str | None, found: str) -> None:
    """Raises BadInput if a local file is not the one that the manifest means."""
    if expected is not None and found != expected:
        raise BadInput(
            f"{path}: wrong checksum: expected sha256 {expected}, found {found}; correct it in the manifest if the file is right"
        )


def _walk(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Give each file under `root` (links to folders are followed) with its relative name."""
    for folder, _, names in os.walk(root, followlinks=True):
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118 - a Path for each of a million files costs more than the walk
            if os.path.isfile(path):  # noqa: PTH113
                yield os.path.relpath(path, root), os.stat(path)  # noqa: PTH116


def count(*roots: Path) -> tuple[int, int]:
    """Count files and their bytes under some folders."""
    sizes = [stat.st_size for root in roots for _, stat in _walk(root)]
    return len(sizes), sum(sizes)
