"""Unpack an archive of images from a stranger: zip or tar, nothing outside the folder, no links, no devices, no bombs.

The kind is told by the content, not by the name. It does not judge what the files are.
"""

from __future__ import annotations

import gzip
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from tinyllava_core.errors import BadInput

# Pictures hardly shrink in an archive; flat drawings as BMP or TIFF may, some hundredfold.
LARGEST_RATIO = 200  # unpacked bytes per archive byte
FREE_BYTES = 64 << 20  # allowed in any case, for small archives of very flat files


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """What came out of one archive."""

    num_files: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    name: str
    size_bytes: int
    fault: str  # "": a plain file
    is_folder: bool
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, into: Path, on_files: Callable[[int], None] | None = None) -> Unpacked:
    """Unpack `archive` into the folder `into`; files get plain permissions, whatever the archive says.

    Raises BadInput, naming archive and member, on what is no archive or is broken, a member that is absolute, climbs
    out with '..', is a link or a device, exists already, or makes it unpack to more than LARGEST_RATIO of its size.
    """
    limit = archive.stat().st_size * LARGEST_RATIO + FREE_BYTES
    into.mkdir(parents=True, exist_ok=True)
    num_files = size_bytes = 0
    try:
        for member in _members(archive):
            target = into / _safe(archive, member)
            if member.is_folder:
                target.mkdir(parents=True, exist_ok=True)
                continue
            size_bytes += member.size_bytes
            if size_bytes > limit:
                raise BadInput(
                    f"{archive.name}: unpacks to more than {limit} bytes, {LARGEST_RATIO} times its size: refused as a bomb"
                )
            if target.exists():
                raise BadInput(
                    f"{archive.name}: {member.name!r} is there twice; give each archive its own `into` in the manifest"
                )
            _write(member, target)
            num_files += 1
            if on_files:
                on_files(num_files)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise BadInput(f"{archive.name}: one name is both a file and a folder: {error.filename}") from None
    except (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise BadInput(f"{archive.name}: broken archive: {' '.join(str(error).split())}; download it again") from None
    return Unpacked(num_files=num_files, size_bytes=size_bytes)


def safe_path(name: str) -> PurePosixPath | None:
    """Give a relative path as an archive or a table names it, or None if it would leave its folder or cannot be a file."""
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        return None
    return path


def _members(archive: Path) -> Iterator[_Member]:
    if tarfile.is_tarfile(archive):  # asked first: a tar may end with a zip
        with tarfile.open(archive, mode="r:*") as tar:
            for entry in tar:
                yield _tar_member(tar, entry)
    elif zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            for info in zipped.infolist():
                yield _zip_member(zipped, info)
    else:
        raise BadInput(
            f"{archive.name}: neither a zip nor a tar; check its URL in the manifest (did a web page come instead?)"
        )


def _zip_member(zipped: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the writer was no Unix
    fault = "" if kind in (0, stat.S_IFREG, stat.S_IFDIR) else "is a link or a device"
    if info.flag_bits & 1:
        fault = "is encrypted"
    return _Member(
        name=info.filename,
        size_bytes=info.file_size,
        fault=fault,
        is_folder=info.is_dir(),
        open=lambda: zipped.open(info),
    )


def _tar_member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> _Member:
    fault = "" if member.isfile() or member.isdir() else "is a link or a device"
    return _Member(
        name=member.name,
        size_bytes=member.size,
        fault=fault,
        is_folder=member.isdir(),
        open=lambda: tar.extractfile(member),
    )


def _safe(archive: Path, member: _Member) -> PurePosixPath:
    path = safe_path(member.name.rstrip("/") if member.is_folder else member.name)
    if path is None and not (member.is_folder and PurePosixPath(member.name) == PurePosixPath(".")):
        raise BadInput(f"{archive.name}: member {member.name!r} leaves the folder: refused")
    if member.fault:
        raise BadInput(f"{archive.name}: member {member.name!r} {member.fault}: refused")
    return path or PurePosixPath(".")


def _write(member: _Member, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source = member.open()
    assert source is not None, "only plain files come here"
    with source, target.open("xb") as file:
        shutil.copyfileobj(source, file, 1 << 18)
    if (found := target.stat().st_size) != member.size_bytes:
        raise zipfile.BadZipFile(f"{member.name!r} has {found} bytes, {member.size_bytes} declared")
