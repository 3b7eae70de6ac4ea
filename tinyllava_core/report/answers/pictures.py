"""Small copies of pictures beside a page, each once however often it is asked about. It knows no question."""

from __future__ import annotations

import io
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from tinyllava_core.data.files.places import ImagePlaces, Piece
from tinyllava_core.workers import num_cpus

EDGE = 336  # pixels of the longer edge: what the usual encoders see
_QUALITY = 82


def write_small(names: Iterable[str], images: ImagePlaces, folder: Path) -> dict[str, str]:
    """Write a small JPEG of each named picture, called after its bytes -> name: file name. Those that are gone are not in it."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = list(dict.fromkeys(names))
    with ThreadPoolExecutor(num_cpus()) as pool:  # Pillow works outside of the interpreter's lock
        written = pool.map(lambda name: _write(images.look_up(name), folder), wanted)
        return {name: file for name, file in zip(wanted, written, strict=True) if file}


def _write(found: Path | Piece | None, folder: Path) -> str | None:
    data = small(found, EDGE, _QUALITY)
    if data is None:
        return None
    name = f"{sha256(data).hexdigest()[:16]}.jpg"
    if not (folder / name).exists():
        (folder / name).write_bytes(data)
    return name


def small(found: Path | Piece | None, edge: int, quality: int) -> bytes | None:
    """Make a JPEG of a picture, its longer edge at most `edge` pixels; None if it is gone or is none."""
    if found is None:
        return None
    try:
        return small_of(found.read_bytes(), edge, quality)
    except OSError:
        return None


def small_of(data: bytes, edge: int, quality: int) -> bytes | None:
    """Make a JPEG of a picture's bytes; None if they are none."""
    try:
        with Image.open(io.BytesIO(data)) as opened:
            opened.draft("RGB", (edge, edge))  # a JPEG is read at half, a quarter or an eighth of its size
            picture = opened.convert("RGB")
    except (OSError, UnidentifiedImageError):
        return None
    picture.thumbnail((edge, edge))
    picture.save(buffer := io.BytesIO(), "JPEG", quality=quality)
    return buffer.getvalue()
