"""Read what is in a zip or a tar (plain, or packed by gzip, bzip2, xz or zstd), told by its content, member by member.

It says what a member is and what is wrong with it; whether and where it may be written is archive.py's matter.
"""

from __future__ import annotations

import errno
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
from typing import IO, Any, Self, cast

import pyarrow as pa

from tinyllava_core.errors import BadInput

_ZSTD = b"\x28\xb5\x2f\xfd"  # a frame's magic number; source: RFC 8878, section 3.1.1

_HEADER_BYTES = 1 << 20  # all headers of one member: a path has at most 4 kB, and a bomb's name a gigabyte
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
            with stream, tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r|", tarinfo=_Entry) as tar:
                yield None, _foreseen(_tar_members(tar))
                _read_on(stream)
        elif (whole := _tar(archive)) is not None:  # asked before zip: a tar may end with a zip
            with whole:
                yield None, _foreseen(_whole_tar_members(whole))
        elif zipfile.is_zipfile(archive):
            with foreseen():
                opened = zipfile.ZipFile(archive)  # reads the names
            with opened as zipped:
                infos = zipped.infolist()
                yield sum(info.file_size for info in infos), _foreseen(_zip_member(zipped, info) for info in infos)
        else:
            raise BadInput(
                f"{archive.name}: neither a zip nor a tar; check its URL in the manifest (did a web page come instead?)"
            )
    except (*_BROKEN, _TooLong, Unforeseen) as error:
        raise _broken(archive, error) from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise _broken(archive, error) from None


class Unforeseen(Exception):
    """What a library raised on an archive's bytes though it does not say that it may."""


def _broken(archive: Path, error: Exception) -> BadInput:
    return BadInput(f"{archive.name}: broken archive: {' '.join(str(error).split())}; download it again")


@contextmanager
def foreseen() -> Iterator[None]:
    """Turn whatever else a library raises on a stranger's bytes into Unforeseen."""
    try:
        yield
    except (*_BROKEN, _TooLong, BadInput):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # EINVAL: an offset before the first byte
            raise
        raise Unforeseen(f"unforeseen: {type(error).__name__}: {str(error)[:200]}") from error


def _foreseen(entries: Iterator[Member]) -> Iterator[Member]:
    while True:
        with foreseen():
            member = next(entries, None)
        if member is None:
            return
        yield member


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


def _tar(archive: Path) -> tarfile.TarFile | None:
    """Open a tar, packed or not; None if it is none."""
    try:
        with foreseen():
            return tarfile.open(archive, mode="r:*", tarinfo=_Entry)
    except _BROKEN:
        return None


class _Entry(tarfile.TarInfo):
    """A member of a tar whose headers (GNU's long names, PAX, maps of sparse files) take little memory, or are refused."""

    @classmethod
    def fromtarfile(cls, tarfile: Any) -> Self:
        """Read one member's headers; those that come before its own call this again."""
        file = tarfile.fileobj
        if isinstance(file, _Short):
            return super().fromtarfile(tarfile)
        tarfile.fileobj = _Short(file)
        try:
            return super().fromtarfile(tarfile)
        finally:
            tarfile.fileobj = file


class _Short:
    """A file of which little is read."""

    def __init__(self, file: Any) -> None:
        self._file, self._left = file, _HEADER_BYTES

    def read(self, size: int) -> bytes:
        self._left -= size
        if size < 0 or self._left < 0:
            raise _TooLong(f"a member's headers have more than {_HEADER_BYTES} bytes")
        data: bytes = self._file.read(size)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _TooLong(Exception):
    """Headers that nobody needs. Not a TarError, which tarfile takes for another kind of archive, or for the end."""


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
        if sum(map(len, tar.pax_headers.values())) > _HEADER_BYTES:  # for all members to come
            raise _TooLong(f"its headers for all members have more than {_HEADER_BYTES} bytes")


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
