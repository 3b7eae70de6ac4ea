"""Read what is in a zip or a tar (plain, or packed by gzip, bzip2, xz or zstd), told by its content, member by member.

It says what a member is and what is wrong with it; whether and where it may be written is archive.py's matter.
"""

from __future__ import annotations

import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa

from tinyllava_core.errors import BadInput

_ZSTD = b"\x28\xb5\x2f\xfd"  # a frame's magic number; source: RFC 8878, section 3.1.1

_PADDING_BYTES = 1 << 30  # behind a tar's end mark; more than that is not read


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One entry of an archive."""

    name: str
    size_bytes: int  # as the archive declares it
    fault: str  # "": a plain file or a folder
    is_folder: bool
    open: Callable[[], IO[bytes] | None]


@contextmanager
def members(archive: Path) -> Iterator[tuple[int | None, Iterator[Member]]]:
    """Give the number of bytes that all members declare (None: not known before) and the members in their order.

    Each must be read before the next is asked for. Raises BadInput if it is no archive, or is found broken meanwhile.
    """
    try:
        with archive.open("rb") as file:
            packed_by_zstd = file.read(4) == _ZSTD
        if packed_by_zstd:
            stream = pa.input_stream(str(archive), compression="zstd")
            with stream, tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r|") as tar:
                yield None, _tar_members(tar)
                _read_on(stream)
        elif tarfile.is_tarfile(archive):  # asked before zip: a tar may end with a zip
            with tarfile.open(archive, mode="r:*") as tar:
                yield None, _whole_tar_members(tar)
        elif zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                infos = zipped.infolist()
                yield sum(info.file_size for info in infos), (_zip_member(zipped, info) for info in infos)
        else:
            raise BadInput(
                f"{archive.name}: neither a zip nor a tar; check its URL in the manifest (did a web page come instead?)"
            )
    except _BROKEN as error:
        raise BadInput(f"{archive.name}: broken archive: {' '.join(str(error).split())}; download it again") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise BadInput(f"{archive.name}: broken archive: {' '.join(str(error).split())}; download it again") from None


# what the libraries raise on bytes that are not as they should be; pyarrow's zstd raises an OSError without a number
_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    NotImplementedError,
)


def _zip_member(zipped: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the writer was no Unix
    fault = "" if kind in (0, stat.S_IFREG, stat.S_IFDIR) else "is a link or a device"
    if info.flag_bits & 1:
        fault = "is encrypted"
    return Member(
        name=info.filename,
        size_bytes=info.file_size,
        fault=fault,
        is_folder=info.is_dir(),
        open=lambda: zipped.open(info),
    )


def _tar_members(tar: tarfile.TarFile) -> Iterator[Member]:
    while entry := tar.next():
        yield Member(
            name=entry.name,
            size_bytes=entry.size,
            fault="" if entry.isfile() or entry.isdir() else "is a link or a device",
            is_folder=entry.isdir(),
            open=_opener(tar, entry),
        )
        tar.members.clear()  # type: ignore[attr-defined]  # they would all stay in memory


def _opener(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> Callable[[], IO[bytes] | None]:
    return lambda: tar.extractfile(entry)


def _whole_tar_members(tar: tarfile.TarFile) -> Iterator[Member]:
    """Give the members and look for the mark at the end: a tar that was cut between two of them would pass for whole."""
    yield from _tar_members(tar)
    file: Any = tar.fileobj
    file.seek(tar.offset)
    if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
        raise tarfile.ReadError("it ends without its end mark: it was cut")
    _read_on(file)


def _read_on(file: Any) -> None:
    """Read what comes behind the end mark: the checksum of a packed tar is looked at only where its bytes end."""
    for _ in range(_PADDING_BYTES >> 20):
        if not file.read(1 << 20):
            return
