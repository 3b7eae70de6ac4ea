"""A single file that is packed by gzip (annotations.json.gz, urls.csv.gz): unpacked whole, or one error. Archives are archive.py's."""

from __future__ import annotations

import gzip
import shutil
import zlib
from pathlib import Path

from tinyllava_core.data.files.archive import FREE_BYTES, LARGEST_RATIO
from tinyllava_core.durable import publish
from tinyllava_core.errors import BadInput
from tinyllava_core.room import require_free

_CHUNK = 1 << 20  # bytes


def is_packed(file: Path) -> bool:
    """Tell whether a file is one packed file by its name; a .tar.gz is an archive."""
    return file.suffix == ".gz" and not file.stem.endswith(".tar")


def laid(file: Path, to: Path) -> Path:
    """Copy a file to `to` with its ending behind it; what is packed is unpacked, and its ending is that of what is in it."""
    if is_packed(file):
        return unpack_file(file, to.with_name(f"{to.name}{Path(file.stem).suffix}"))
    ending = "".join(file.suffixes[-2:]) if file.suffixes[-2:-1] == [".tar"] else file.suffix
    return Path(shutil.copyfile(file, to.with_name(f"{to.name}{ending}")))


def put(file: Path, to: Path) -> None:
    """Copy a file to `to`, with its folder. Raises BadInput if something is there, of an archive or another file."""
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        taken = True
    else:
        taken = to.exists()
    if taken:
        raise BadInput(
            f"{file.name}: {to.name!r} is there already, from another of the files; leave one out of the manifest"
        )
    shutil.copyfile(file, to)


def unpack_file(file: Path, to: Path) -> Path:
    """Unpack `file` to `to`, which appears whole; give `to`.

    Raises BadInput if it is broken, unpacks to more than LARGEST_RATIO times its size, or to more than the disk has room for.
    """
    most, size = file.stat().st_size * LARGEST_RATIO + FREE_BYTES, 0
    aside = to.with_name(f".{to.name}.unpacking")
    try:
        with gzip.open(file) as packed, aside.open("wb") as plain:
            while chunk := packed.read(_CHUNK):
                require_free(to.parent, len(chunk), file.name)
                size += plain.write(chunk)
                if size > most:
                    raise BadInput(f"{file.name}: unpacks to more than {most} bytes: refused as a bomb")
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        aside.unlink(missing_ok=True)
        raise BadInput(f"{file.name}: broken gzip: {error}; download it again") from None
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    publish(aside, to)
    return to
