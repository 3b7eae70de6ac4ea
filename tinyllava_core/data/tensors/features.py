"""A frozen encoder's features of every image of a mix's shards: one big file of numbers, read by memory map. It encodes nothing.

Shapes: N images, P patches, V vision width.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor

TILES = "tiles.npy"  # how many tiles each image is, where they are cut
_TYPES = {"float32": (np.float32, torch.float32), "bfloat16": (np.int16, torch.bfloat16)}  # NumPy has no bfloat16


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureShape:
    """What features.bin is: its numbers in order, without a header."""

    num_images: int  # pictures through the encoder: images, or the tiles that they are cut into
    num_patches: int
    width: int
    dtype: str  # float32 | bfloat16

    @property
    def numbers(self) -> tuple[int, int, int]:
        """[N, P, V]"""
        return self.num_images, self.num_patches, self.width


def distinct_images(shards: Path) -> tuple[np.ndarray, np.ndarray]:
    """List the images of the shards, each content once -> its (row of the index, image of the record) [N, 2], and which of
    these each image of each row is, in order [images]."""
    images = pq.read_table(shards / "index.parquet", columns=["image_sha256"])["image_sha256"].combine_chunks()
    counts = images.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
    which = images.flatten().dictionary_encode().indices.to_numpy().astype(np.int64)
    rows = np.repeat(np.arange(len(counts)), counts)
    numbers = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    _, first = np.unique(which, return_index=True)
    return np.stack([rows[first], numbers[first]], axis=1), which


class Features:
    """The features of one `features` artifact, by row of the shards' index. Safe to hand to worker processes."""

    def __init__(self, shards: Path, folder: Path) -> None:
        self.shape = FeatureShape(**json.loads((folder / "shape.json").read_text()))
        stored, self._dtype = _TYPES[self.shape.dtype]
        self._map = (
            open_features(folder, self.shape, "r") if self.shape.num_images else np.empty(self.shape.numbers, stored)
        )
        images = pq.read_table(shards / "index.parquet", columns=["image_sha256"])["image_sha256"].combine_chunks()
        self._ends = np.cumsum(np.append(0, images.value_lengths().to_numpy(zero_copy_only=False)))
        places, self._which = distinct_images(shards)
        tiles = np.load(folder / TILES) if (folder / TILES).is_file() else np.ones(len(places), np.int64)
        self._tile_ends = np.cumsum(np.append(0, tiles))

    def of(self, rows: Sequence[int]) -> Tensor:
        """Give the features of every image of some records, tile by tile, in order -> [N, P, V]; N may be 0."""
        mine = [image for row in rows for image in self._which[self._ends[row] : self._ends[row + 1]]]
        tiles = [np.arange(self._tile_ends[image], self._tile_ends[image + 1]) for image in mine]
        return torch.from_numpy(self._map[np.concatenate([np.empty(0, np.int64), *tiles])]).view(self._dtype)


def open_features(folder: Path, shape: FeatureShape, mode: str) -> np.memmap:
    """Map features.bin; mode r+ to write into it, w+ to make it."""
    return np.memmap(folder / "features.bin", _TYPES[shape.dtype][0], mode, shape=shape.numbers)  # type: ignore[call-overload, no-any-return]


def stored(features_NPV: Tensor, dtype: str) -> np.ndarray:
    """Turn features into what the file holds."""
    numbers, kind = _TYPES[dtype]
    return features_NPV.to("cpu", kind).view(torch.int16 if numbers is np.int16 else kind).numpy()
