"""What a training keeps of each record, at the record's own step: rows in parts, one beside each saved state, that become one file.

A killed run has every row once. It runs no model.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tinyllava_core.artifact import aside_of
from tinyllava_core.durable import publish
from tinyllava_core.train.engines.ranks import rank

KEY = ("step", "pack", "slot")  # where the plan has a record


class Parts:
    """The parts of one such file on the disk, and the file: `out`/NAME.parquet."""

    def __init__(self, out: Path, name: str, schema: pa.Schema) -> None:
        self.file, self.home, self.schema = out / f"{name}.parquet", out / name, schema

    def cut(self, first_step: int) -> None:
        """Forget what a killed life saw from `first_step` on. Rank 0 calls this."""
        self.home.mkdir(exist_ok=True)
        for part in self.home.iterdir():
            if _first(part) >= first_step:
                part.unlink()

    def write(self, table: pa.Table, next_step: int) -> None:
        """Write this rank's rows of some steps before `next_step`."""
        first = pc.min(table["step"]).as_py()
        path = self.home / f"{first:08d}-{next_step:08d}-{rank()}.parquet"
        pq.write_table(table, aside := aside_of(path))
        publish(aside, path)

    def read(self) -> pa.Table:
        """Read the parts of all ranks."""
        parts = [pq.read_table(part, schema=self.schema) for part in sorted(self.home.glob("[0-9]*.parquet"))]
        return pa.concat_tables(parts or [self.schema.empty_table()])

    def clear(self) -> None:
        """Take the parts away: they are in the file."""
        shutil.rmtree(self.home, ignore_errors=True)


def keys(table: pa.Table) -> pa.Array:
    """Make one number of step, pack and slot: 2**20 packs a step, 2**20 records a pack, and steps up to 2**23."""
    step, pack, slot = (table[name].to_numpy().astype(np.int64) for name in KEY)
    return pa.array((step << 40) | (pack << 20) | slot)


def _first(part: Path) -> int:
    digits = part.name.split("-")[0].lstrip(".")
    return int(digits) if digits.isdigit() else 0
