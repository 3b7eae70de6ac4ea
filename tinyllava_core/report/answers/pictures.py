"""Small copies of pictures beside a page, each once however often it is asked about. It knows no question."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

from tinyllava_core.data.files.places import ImagePlaces, Piece
from tinyllava_core.data.inspect.small import small
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
