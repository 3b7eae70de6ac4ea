"""Which records of a stage are held out of training, to measure the loss on. It lays out nothing.

Records that share an image, however far round, go together: no image that is measured on was trained on.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa


def held_out(record_ids: pa.ChunkedArray, image_sha256: pa.ChunkedArray, count: int, seed: int) -> np.ndarray:
    """Choose whole groups, in an order of the seed, until `count` records are held out or all but one group is -> [records] bool."""
    chosen = np.zeros(len(record_ids), bool)
    if not count:
        return chosen
    group = _groups(image_sha256.combine_chunks())
    firsts, sizes = np.unique(group, return_counts=True)
    names = record_ids.take(pa.array(firsts)).to_pylist()
    keys = [hashlib.md5(f"{seed}:held_out:{name}".encode(), usedforsecurity=False).digest() for name in names]
    order = np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64)[:-1]
    before = np.cumsum(sizes[order]) - sizes[order]
    return np.asarray(np.isin(group, firsts[order[before < count]]))


def _groups(image_sha256: pa.ListArray) -> np.ndarray:
    """Give each record the number of the first record that it shares an image with, directly or through others -> [records]."""
    record = pa.compute.list_parent_indices(image_sha256).to_numpy()
    image = pa.compute.list_flatten(image_sha256).dictionary_encode().indices.to_numpy()
    group = np.arange(len(image_sha256))
    while True:
        of_image = np.full(int(image.max(initial=-1)) + 1, len(group))
        np.minimum.at(of_image, image, group[record])
        joined = group.copy()
        np.minimum.at(joined, record, of_image[image])
        if (joined == group).all():
            return group
        group = joined
