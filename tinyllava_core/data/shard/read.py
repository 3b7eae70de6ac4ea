"""Read single records out of shards, in any order, by their offsets, each held against its hash. It decodes no image.

A tar is a file of bytes: with the offsets of index.parquet, a record is two reads at known places.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tinyllava_core.data.record.record import Turn
from tinyllava_core.data.web.tar_store import ReadAt, read_tars, reader
from tinyllava_core.errors import BadInput

_COLUMNS = ["position", "shard", "json_offset", "json_size", "image_offsets", "image_sizes"]
_HASHES = ["json_sha256", "image_sha256", "stored_sha256"]
_DIGITS = 16  # of a sha256 that are kept in memory


class ShardReader:
    """The records of one shard artifact, by row of its index (the mix's order). Safe to hand to worker processes.

    Only rows `first_row` .. `stop_row` are there if these are given. Columns are kept as arrays of numbers: some 80 bytes
    a record. What is read raises BadInput if it is not what was written.
    """

    def __init__(self, folder: Path, first_row: int = 0, stop_row: int | None = None) -> None:
        self.folder, self.first_row = folder, first_row
        index = _rows(folder / "index.parquet", first_row, stop_row)
        self.positions, self._shard = index["position"].to_numpy(), index["shard"].to_numpy()
        self._json = np.stack([index["json_offset"].to_numpy(), index["json_size"].to_numpy()], axis=1)
        offsets, sizes = (index[name].combine_chunks() for name in ("image_offsets", "image_sizes"))
        self._images = np.stack([offsets.flatten().to_numpy(), sizes.flatten().to_numpy()], axis=1)
        stored = pc.coalesce(*(index[name].combine_chunks().flatten() for name in ("stored_sha256", "image_sha256")))
        self._json_sums, self._image_sums = _beginnings(index["json_sha256"].combine_chunks()), _beginnings(stored)
        self._image_ends = np.cumsum(np.append(0, pc.list_value_length(offsets).to_numpy()))
        self._tars = read_tars(folder)
        self._files: dict[int, ReadAt] = {}

    def __len__(self) -> int:
        return len(self._shard)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}}  # open files stay in their process

    def turns(self, row: int) -> tuple[Turn, ...]:
        """Read one record's conversation."""
        return self.told(row)[0]

    def told(self, row: int) -> tuple[tuple[Turn, ...], list[tuple[int, int]]]:
        """Read one record's conversation, and the (width, height) of each of its images as they are stored."""
        place = row - self.first_row
        offset, size = self._json[place].tolist()
        data = json.loads(self._read(row, offset, size, self._json_sums[place]))
        sizes = [(image["width"], image["height"]) for image in data["images"]]
        return tuple(Turn(**turn) for turn in data["turns"]), sizes

    def num_images(self, row: int) -> int:
        """Count one record's images."""
        start, stop = self._image_ends[row - self.first_row : row - self.first_row + 2].tolist()
        return int(stop - start)

    def images(self, row: int) -> list[bytes]:
        """Read one record's images, as the files they were."""
        start, stop = self._image_ends[row - self.first_row : row - self.first_row + 2].tolist()
        places = zip(self._images[start:stop].tolist(), self._image_sums[start:stop], strict=True)
        return [self._read(row, offset, size, beginning) for (offset, size), beginning in places]

    def image_names(self, row: int) -> list[int]:
        """Name one record's images by the first 8 bytes of their hashes: the same name, the same file."""
        start, stop = self._image_ends[row - self.first_row : row - self.first_row + 2].tolist()
        names: list[int] = self._image_sums[start:stop].tolist()
        return names

    def _read(self, row: int, offset: int, size: int, beginning: np.uint64) -> bytes:
        shard = int(self._shard[row - self.first_row])
        if shard not in self._files:
            self._files[shard] = reader(self._tars[shard], self.folder)
        data = self._files[shard](offset, size)
        if hashlib.sha256(data).digest()[: _DIGITS // 2] != int(beginning).to_bytes(_DIGITS // 2):
            raise BadInput(
                f"{self._tars[shard].name}: the {size} bytes from {offset} on are not what was written there: the disk or somebody "
                f"changed it; delete {self.folder} and give the same command again: its tars are made anew"
            )
        return data


def _beginnings(sums: pa.StringArray) -> np.ndarray:
    """Turn hashes in hex into numbers: their first 8 bytes, which is enough to tell a fault of a disk."""
    cut = pc.utf8_slice_codeunits(sums, 0, _DIGITS)
    return np.frombuffer(bytes.fromhex("".join(cut.to_pylist())), ">u8").astype(np.uint64)


def _rows(index: Path, first: int, stop: int | None) -> pa.Table:
    """Read some rows of an index, and of its file little more than those."""
    with pq.ParquetFile(index) as file:
        starts = np.cumsum([0] + [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)])
        stop = int(starts[-1]) if stop is None else stop
        groups = [group for group in range(file.num_row_groups) if starts[group + 1] > first and starts[group] < stop]
        table = file.read_row_groups(groups, columns=[*_COLUMNS, *_HASHES])
    return table.slice(first - int(starts[groups[0]]) if groups else 0, stop - first)
