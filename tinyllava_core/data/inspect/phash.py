"""A perceptual hash: 64 bits that say what a picture looks like at a glance, near for near pictures. It compares none.

Only whole numbers are calculated with, so that the same pixels give the same bits on every machine.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

NEAR = 8  # bits: re-encoding, and resizing by two, move a photograph's hash by at most so many

_SIDE = 32  # the picture is averaged to 32 x 32 boxes; Source: imagehash's phash, hash_size 8 x highfreq_factor 4
_LOW = 8  # of their 32 x 32 frequencies, the 8 x 8 lowest count
_ONE = 1 << 14  # fixed point of the cosines
# DCT-II: cos(pi (2x + 1) u / 64), [u, x]
_COSINES = np.rint(
    np.cos(np.pi * (2 * np.arange(_SIDE)[None, :] + 1) * np.arange(_LOW)[:, None] / (2 * _SIDE)) * _ONE
).astype(np.int64)


def phash(image: Image.Image) -> int:
    """Hash a grey or RGB picture: bit u, v says whether that low frequency is above the 64 frequencies' median.

    Row by row from the highest bit, as imagehash writes it down.
    """
    frequencies = _COSINES @ grey_boxes(image) @ _COSINES.T
    ordered = np.sort(frequencies, axis=None)
    above = 2 * frequencies > ordered[31] + ordered[32]
    return int.from_bytes(np.packbits(above).tobytes(), "big")


def grey_boxes(image: Image.Image) -> np.ndarray:
    """Average a picture to [32, 32] boxes of equal shares of its sides -> int64, grey levels times 256."""
    small = image.reduce((max(1, image.width // 64), max(1, image.height // 64))).convert("L")
    rows, columns = (np.arange(_SIDE + 1) * side // _SIDE for side in (small.height, small.width))
    grey_HW = np.asarray(small, dtype=np.int64)
    sums = np.add.reduceat(np.add.reduceat(grey_HW, rows[:-1], axis=0), columns[:-1], axis=1)
    counts = np.maximum(np.diff(rows), 1)[:, None] * np.maximum(np.diff(columns), 1)[None, :]
    return np.asarray(sums * 256 // counts)


def distance(first: int, second: int) -> int:
    """Count the bits that differ."""
    return (first ^ second).bit_count()
