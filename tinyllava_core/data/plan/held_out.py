"""Which records of a stage are held out of training, to measure the loss on. It lays out nothing.

Records that share an image, however far round, go together, and so do all places of one record: no image and no record that is
measured on was trained on.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa


def held_out(record_ids: pa.ChunkedArray, image_sha256: pa.ChunkedArray, count: int, seed: int) -> np.ndarray:
    """Choose whole groups, in an order of the seed, until `count` records are held out or all but one group is -> [places] bool."""
    chosen = np.zeros(len(record_ids), bool)
    if not count:
        return chosen
    group = _groups(record_ids.combine_chunks(), image_sha256.combine_chunks())
    firsts, sizes = np.unique(group, return_counts=True)
    names = record_ids.take(pa.array(firsts)).to_pylist()
    keys = [hashlib.md5(f"{seed}:held_out:{name}".encode(), usedforsecurity=False).digest() for name in names]
    order = np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64)[:-1]
    before = np.cumsum(sizes[order]) - sizes[order]
    return np.asarray(np.isin(group, firsts[order[before < count]]))


def _groups(record_ids: pa.Array, image_sha256: pa.ListArray) -> np.ndarray:
    """Give each place the number of the first one that it shares an image or its record with, directly or through others -> [places]."""
    group = np.arange(len(record_ids))
    image = pa.compute.list_flatten(image_sha256).dictionary_encode().indices.to_numpy()
    name = record_ids.dictionary_encode().indices.to_numpy() + (image.max(initial=-1) + 1)
    place = np.concatenate([pa.compute.list_parent_indices(image_sha256).to_numpy(), group])
    tie = np.concatenate([image, name])  # what holds places together
    while True:
        of_tie = np.full(int(tie.max(initial=-1)) + 1, len(group))
        np.minimum.at(of_tie, tie, group[place])
        joined = group.copy()
        np.minimum.at(joined, place, of_tie[tie])
        if (joined == group).all():
            return group
        group = joined
