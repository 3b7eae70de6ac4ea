"""Read single records out of shards, in any order, by their offsets. It decodes no image.

A tar is a file of bytes: with the offsets of index.parquet, a record is two reads at known places.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tinyllava_core.data.record.record import Turn
from tinyllava_core.data.web.tar_store import ReadAt, read_tars, reader

_COLUMNS = ["position", "shard", "json_offset", "json_size", "image_offsets", "image_sizes"]


class ShardReader:
    """The records of one shard artifact, by row of its index (the mix's order). Safe to hand to worker processes.

    Only rows `first_row` .. `stop_row` are there if these are given. Columns are kept as arrays of numbers: some 60 bytes
    a record.
    """

    def __init__(self, folder: Path, first_row: int = 0, stop_row: int | None = None) -> None:
        self.folder, self.first_row = folder, first_row
        index = _rows(folder / "index.parquet", first_row, stop_row)
        self.positions, self._shard = index["position"].to_numpy(), index["shard"].to_numpy()
        self._json = np.stack([index["json_offset"].to_numpy(), index["json_size"].to_numpy()], axis=1)
        offsets, sizes = (index[name].combine_chunks() for name in ("image_offsets", "image_sizes"))
        self._images = np.stack([offsets.flatten().to_numpy(), sizes.flatten().to_numpy()], axis=1)
        self._image_ends = np.cumsum(np.append(0, pa.compute.list_value_length(offsets).to_numpy()))
        self._tars = read_tars(folder)
        self._files: dict[int, ReadAt] = {}

    def __len__(self) -> int:
        return len(self._shard)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}}  # open files stay in their process

    def turns(self, row: int) -> tuple[Turn, ...]:
        """Read one record's conversation."""
        offset, size = self._json[row - self.first_row].tolist()
        data = json.loads(self._read(row, offset, size))
        return tuple(Turn(**turn) for turn in data["turns"])

    def num_images(self, row: int) -> int:
        """Count one record's images."""
        start, stop = self._image_ends[row - self.first_row : row - self.first_row + 2].tolist()
        return int(stop - start)

    def images(self, row: int) -> list[bytes]:
        """Read one record's images, as the files they were."""
        start, stop = self._image_ends[row - self.first_row : row - self.first_row + 2].tolist()
        return [self._read(row, offset, size) for offset, size in self._images[start:stop].tolist()]

    def _read(self, row: int, offset: int, size: int) -> bytes:
        shard = int(self._shard[row - self.first_row])
        if shard not in self._files:
            self._files[shard] = reader(self._tars[shard], self.folder)
        return self._files[shard](offset, size)


def _rows(index: Path, first: int, stop: int | None) -> pa.Table:
    """Read some rows of an index, and of its file little more than those."""
    with pq.ParquetFile(index) as file:
        starts = np.cumsum([0] + [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)])
        stop = int(starts[-1]) if stop is None else stop
        groups = [group for group in range(file.num_row_groups) if starts[group + 1] > first and starts[group] < stop]
        table = file.read_row_groups(groups, columns=_COLUMNS)
    return table.slice(first - int(starts[groups[0]]) if groups else 0, stop - first)
