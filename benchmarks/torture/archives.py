"""Mutated archives: refused in one line and nothing is left, or plain files inside their folder and no more than a bomb's limit."""

from __future__ import annotations

import gzip
import io
import lzma
import random
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pyarrow as pa

from benchmarks.torture.mutate import NUMBERS, mutated, refused
from tinyllava_core.data.files.archive import FREE_BYTES, LARGEST_RATIO, unpack
from tinyllava_core.errors import BadInput

NAMES = (
    *(
        "a.jpg",
        "b/c.png",
        "b/d e.png",
        "b/ä.png",
        "b/",
        "A.jpg",
        "x" * 300,
        "deep/" * 60 + "f",
        "a.jpg/g",
        ".",
        "",
        "nul\0l",
    ),
    *("../out", "/out", "b/../../out", "..\\out", "C:\\out", "//out", "./a.jpg", "~root", "b//c.png"),
)
KINDS = (
    tarfile.REGTYPE,
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.CHRTYPE,
    tarfile.FIFOTYPE,
    tarfile.DIRTYPE,
    b"S",
    b"?",
)
WORDS = (
    *NUMBERS,
    b"../",
    b"/",
    b"\0",
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"ustar\x0000",
    b"9999999 path=/out\n",
    b"L",
    b"x",
    b"K",
)


def try_archives(chance: random.Random) -> str:
    """Pack files with names from everywhere, change the bytes before or after they are packed, unpack."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archive, into = folder / "a.zip", folder / "in" / "to"
        into.parent.mkdir()
        archive.write_bytes(_packed(chance))
        try:
            told = unpack(
                archive, into, strip=chance.choice(("", "", "b", "*")), only=chance.choice(((), (), ("*.png",)))
            )
        except BadInput as error:
            assert not any(into.parent.iterdir()), f"refused, and left {next(into.parent.iterdir())}"
            outcome = refused(error, "a.zip: ")
        else:
            outcome = "unpacked"
            files = [path for path in into.rglob("*") if not path.is_dir()]
            assert all(path.is_file() and not path.is_symlink() for path in files), "no plain file"
            assert len(files) == told.num_files, f"{len(files)} files, told {told.num_files}"
            size = sum(path.stat().st_size for path in files)
            assert size == told.size_bytes, f"{size} bytes, told {told.size_bytes}"
            assert size <= max(FREE_BYTES, LARGEST_RATIO * archive.stat().st_size), "a bomb"
            assert [path.name for path in into.parent.iterdir()] in (["to"], []), "left something beside its folder"
        assert sorted(path.name for path in folder.iterdir()) == ["a.zip", "in"], "wrote outside its folder"
        return outcome


def _packed(chance: random.Random) -> bytes:
    names = [
        chance.choice(NAMES[:8]) if chance.random() < 0.9 else chance.choice(NAMES) for _ in range(chance.randint(1, 6))
    ]
    if chance.random() < 0.4:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
            for name in names:
                info = zipfile.ZipInfo(name.replace("\0", "") or "e")
                if chance.random() < 0.1:
                    info.external_attr = chance.choice((0o120777, 0o020666, 0o040755)) << 16
                archive.writestr(info, _content(chance))
        return mutated(buffer.getvalue(), chance, WORDS) if chance.random() < 0.8 else buffer.getvalue()
    plain = _tar(names, chance)
    if chance.random() < 0.5:
        plain = mutated(plain, chance, WORDS)
    pack = chance.choice((bytes, bytes, gzip.compress, lzma.compress, _zstd))
    packed = pack(plain)
    return mutated(packed, chance, WORDS) if chance.random() < 0.3 else packed


def _tar(names: list[str], chance: random.Random) -> bytes:
    buffer = io.BytesIO()
    form = chance.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT))
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name in names:
            content, info = _content(chance), tarfile.TarInfo(name)
            if chance.random() < 0.15:
                info.type, info.linkname = chance.choice(KINDS), chance.choice(NAMES)
            if form == tarfile.PAX_FORMAT and chance.random() < 0.1:
                info.pax_headers = {
                    chance.choice(("path", "size", "linkpath", "x")): chance.choice(
                        ("../out", "99999999999", "-1", "é")
                    )
                }
            info.size = len(content) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _zstd(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


def _content(chance: random.Random) -> bytes:
    return chance.randbytes(chance.choice((0, 1, 600))) + bytes(chance.choice((0, 0, 0, 200_000)))
