"""Write a tar whose bytes depend on its members' names and bytes alone: no time, no owner. It knows no records.

Plain USTAR, as `tarfile` writes it, at a tenth of its cost: a member's header is one block in which two fields differ.
"""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path
from types import TracebackType
from typing import Self

BLOCK = tarfile.BLOCKSIZE  # 512 bytes
_RECORD = tarfile.RECORDSIZE  # a tar is padded to 20 blocks
_BUFFER = 1 << 20
_TEMPLATE = tarfile.TarInfo("").tobuf(tarfile.USTAR_FORMAT)  # mtime 0, uid and gid 0, no owner's name, mode 0644
_NAME, _SIZE, _CHECKSUM = slice(0, 100), slice(124, 136), slice(148, 156)
_KIND, _LINK = slice(156, 157), slice(157, 257)  # POSIX.1-1988, ustar


class TarWriter:
    """A tar being written, with the hash of its bytes."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=_BUFFER)
        self._hash = hashlib.sha256()
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._write(bytes(2 * BLOCK))
            self._write(bytes(-self.size % _RECORD))
        self._file.close()

    def add(self, name: str, data: bytes) -> int:
        """Add one member; give the offset of its bytes in the tar."""
        self._write(header(name, len(data)))
        offset = self.size
        self._write(data)
        self._write(bytes(-len(data) % BLOCK))
        return offset

    def link(self, name: str, to: str) -> None:
        """Add a member that is another name of an earlier one: a hard link, which takes one block."""
        self._write(header(name, 0, to))

    def sha256(self) -> str:
        """Give the hash of the whole tar, once it is closed."""
        return self._hash.hexdigest()

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)


def header(name: str, size: int, link_to: str | None = None) -> bytes:
    """Make the header block of a regular file, or of a link to one. Raises ValueError for a name or a size that USTAR cannot hold."""
    block, encoded = bytearray(_TEMPLATE), name.encode()
    if len(encoded) > 100 or size >= 8**11:
        raise ValueError(f"{name!r}, {size} bytes: a tar member's name has at most 100 bytes, its data less than 8 GiB")
    block[_NAME] = encoded.ljust(100, b"\0")
    block[_SIZE] = b"%011o\0" % size
    if link_to is not None:
        block[_KIND], block[_LINK] = tarfile.LNKTYPE, link_to.encode().ljust(100, b"\0")
    block[_CHECKSUM] = b" " * 8
    block[_CHECKSUM] = b"%06o\0 " % sum(block)
    return bytes(block)
