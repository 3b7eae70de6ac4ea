"""The files of a manifest that are on this disk already: found, hashed, counted. Nothing is copied or changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from tinyllava_core.artifact import file_sha256
from tinyllava_core.data.manifest.annotations import Annotations
from tinyllava_core.data.manifest.manifest import Manifest
from tinyllava_core.errors import BadInput


def local_digest(manifest: Manifest) -> str | None:
    """Hash what a manifest's local files are now, for the fingerprint; None if it names none.

    Files by content; folders, which may be big, by their place and their files' names, sizes and times.
    Raises BadInput if a local file is missing.
    """
    digest = hashlib.sha256()
    parts = 0
    for path in _local_paths(manifest):
        if path.is_file():
            digest.update(f"{path}\t{file_sha256(path)}\n".encode())
        else:
            digest.update(f"{path}\n".encode())
            for name, stat in sorted(_walk(path)):
                digest.update(f"{name}\t{stat.st_size}\t{stat.st_mtime_ns}\n".encode(errors="surrogateescape"))
        parts += 1
    return digest.hexdigest() if parts else None


def _local_paths(manifest: Manifest) -> list[Path]:
    found = []
    if manifest.annotations and manifest.annotations.path is not None:
        found.append(local_path(manifest, "annotations.path", manifest.annotations.path))
    if manifest.annotations and manifest.annotations.hub and manifest.annotations.hub.is_local:
        found.append(local_path(manifest, "annotations.hub.repo", manifest.annotations.hub.repo))
    for images in manifest.images:
        if images.url_table and images.url_table.path is not None:
            found.append(local_file(manifest, "url_table.path", images.url_table.path))
        if images.hub and images.hub.is_local:
            found.append(local_path(manifest, "images.hub.repo", images.hub.repo))
    return found + local_folders(manifest)


def local_path(manifest: Manifest, key: str, path: str) -> Path:
    """Give a local file or folder of a manifest. Raises BadInput, naming the manifest's key, if it is not there."""
    place = manifest.local(path)
    if not place.exists():
        raise BadInput(
            f"manifest {manifest.name!r}: {key}: no file {place} (relative paths start at the manifest's folder)"
        )
    if not (place.is_file() or place.is_dir()):
        raise BadInput(f"manifest {manifest.name!r}: {key}: {place} is a device or a pipe; expected a file or a folder")
    return place


def local_file(manifest: Manifest, key: str, path: str) -> Path:
    """Give a local file of a manifest. Raises BadInput, naming the manifest's key, if it is not there."""
    file = local_path(manifest, key, path)
    if not file.is_file():
        raise BadInput(f"manifest {manifest.name!r}: {key}: {file} is a folder, expected a file")
    return file


def local_folders(manifest: Manifest) -> list[Path]:
    """Give the local image folders of a manifest. Raises BadInput if one is not there."""
    for folder in manifest.folders:
        if not folder.is_dir():
            raise BadInput(
                f"manifest {manifest.name!r}: images.folder: no folder {folder} (relative paths start at the manifest's folder)"
            )
    return manifest.folders


def inner_root(folder: Path, root: str) -> Path:
    """Give the folder that all else is in: `root` in `folder`, or `folder` itself, where somebody moved things up."""
    return folder / root if (folder / root).is_dir() else folder


def read_path(annotations: Annotations, place: Path, name: str) -> Path:
    """Give what a parser or scorer reads: a file, or in a folder the one it asks for. Raises BadInput if it is not there."""
    if place.is_file():
        return place
    folder = inner_root(place, annotations.root)
    found = folder / annotations.file if annotations.file else folder
    if not found.exists():
        there = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"
        raise BadInput(f"{name!r}: annotations.file: no {annotations.file} in {folder}; there: {there}")
    return found


def beside(annotations: Annotations, read: Path) -> Path:
    """Give the folder that `inside` of a manifest's images begins in, from what is read of the annotations."""
    if (
        annotations.file is not None
        and read.parts[-len(Path(annotations.file).parts) :] == Path(annotations.file).parts
    ):
        return read.parents[len(Path(annotations.file).parts) - 1]
    return read if read.is_dir() else read.parent


def check_sum(path: Path, expected: str | None, found: str) -> None:
    """Raises BadInput if a local file is not the one that the manifest means."""
    if expected is not None and found != expected:
        raise BadInput(
            f"{path}: wrong checksum: expected sha256 {expected}, found {found}; correct it in the manifest if the file is right"
        )


def check_file(path: Path, size_bytes: int | None, sha256: str | None) -> None:
    """Raises BadInput if a local file has another size or sum than the manifest states."""
    if size_bytes is not None and path.stat().st_size != size_bytes:
        raise BadInput(
            f"{path}: expected {size_bytes} bytes, found {path.stat().st_size}; correct `bytes` in the manifest"
        )
    if sha256 is not None:
        check_sum(path, sha256, file_sha256(path))


def content_sha256(path: Path) -> str:
    """Hash a file's bytes, or a folder's files by their names and bytes -> 64 hex digits."""
    if path.is_file():
        return file_sha256(path)
    digest = hashlib.sha256()
    for name in sorted(name for name, _ in _walk(path)):
        digest.update(f"{name}\t{file_sha256(path / name)}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def count(*roots: Path) -> tuple[int, int]:
    """Count files and their bytes under some folders."""
    sizes = [stat.st_size for root in roots for _, stat in _walk(root)]
    return len(sizes), sum(sizes)


def _walk(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Give each file under `root` (links to folders are followed) with its relative name."""
    for folder, _, names in os.walk(root, followlinks=True):
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118 - a Path for each of a million files costs more than the walk
            if os.path.isfile(path):  # noqa: PTH113
                yield os.path.relpath(path, root), os.stat(path)  # noqa: PTH116
