"""Read single records out of shards, in any order, by their offsets. It decodes no image.

A tar is a file of bytes: with the offsets of index.parquet, a record is two reads at known places.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tinyllava_core.data.record import Turn


class ShardReader:
    """The records of one shard artifact, by row of its index (the mix's order). Safe to hand to worker processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index = pq.read_table(folder / "index.parquet").combine_chunks()
        self._columns = {name: self.index.column(name) for name in self.index.column_names}
        self._names: list[str] = pq.read_table(folder / "shards.parquet", columns=["name"])["name"].to_pylist()
        self._files: dict[int, int] = {}

    def __len__(self) -> int:
        return int(self.index.num_rows)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}}  # open files stay in their process

    def turns(self, row: int) -> tuple[Turn, ...]:
        """Read one record's conversation."""
        data = json.loads(self._read(row, self._value("json_offset", row), self._value("json_size", row)))
        return tuple(Turn(role=turn["role"], text=turn["text"]) for turn in data["turns"])

    def images(self, row: int) -> list[bytes]:
        """Read one record's images, as the files they were."""
        places = zip(self._value("image_offsets", row), self._value("image_sizes", row), strict=True)
        return [self._read(row, offset, size) for offset, size in places]

    def _value(self, column: str, row: int) -> Any:
        return self._columns[column][row].as_py()

    def _read(self, row: int, offset: int, size: int) -> bytes:
        shard = self._value("shard", row)
        if shard not in self._files:
            self._files[shard] = os.open(self.folder / self._names[shard], os.O_RDONLY)
        return os.pread(self._files[shard], size, offset)
