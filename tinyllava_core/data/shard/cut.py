"""Where a mix is cut into tars: decided from the inspected sizes, before any tar is written. It reads no image.

So each tar can be written on its own, by any worker, and the cuts are the same on any number of them.
"""

from __future__ import annotations

import numpy as np

from tinyllava_core.data.files.tar import BLOCK
from tinyllava_core.data.shard.lookup import LaidOut

_AROUND_TEXT = 200  # bytes of a record's JSON besides its turns' characters, roughly
_AROUND_IMAGE = 150  # and for each image


def cut(sizes: np.ndarray, records_per_shard: int | None, shard_bytes: int) -> np.ndarray:
    """Cut records of these sizes into tars -> first record of each, then the number of records.

    A tar ends before the record that would make it larger than `shard_bytes`, and after `records_per_shard` records; it
    has at least one.
    """
    ends, starts = np.cumsum(sizes), [0]
    while starts[-1] < len(sizes):
        start = starts[-1]
        full = int(np.searchsorted(ends, (ends[start - 1] if start else 0) + shard_bytes, side="right"))
        by_count = len(sizes) if records_per_shard is None else start + records_per_shard
        starts.append(min(max(full, start + 1), by_count, len(sizes)))
    return np.asarray(starts)


def record_sizes(laid_out: LaidOut, max_side: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Estimate what each record of a source takes in a tar, and of that its images' own bytes -> two of [records], bytes.

    Exact for an image that is stored as it is; a text is counted a byte a character, an image that will be stored smaller
    by its area.
    """
    images = laid_out.image_sizes
    if max_side is not None:
        images = (images * np.minimum(1.0, max_side / laid_out.image_sides) ** 2).astype(np.int64)
    num_images = np.bincount(laid_out.image_rows, minlength=len(laid_out.ids))
    text = laid_out.num_chars + _AROUND_TEXT + _AROUND_IMAGE * num_images
    in_tar, own = (
        np.bincount(laid_out.image_rows, weights=sizes, minlength=len(laid_out.ids)).astype(np.int64)
        for sizes in (_in_tar(images), _in_tar(images) - BLOCK)
    )
    return _in_tar(text) + in_tar, own


def _in_tar(sizes: np.ndarray) -> np.ndarray:
    return BLOCK + sizes + -sizes % BLOCK
