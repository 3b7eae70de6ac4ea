"""The tables of stage `inspect`, and of the parts that it is done in: names, types, and how they are written. No judgement.

Row groups are cut by the row alone, so a table's bytes do not depend on the pieces that it came in.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tinyllava_core.artifact import aside_of
from tinyllava_core.durable import publish

ROWS_PER_GROUP = 20_000

TURN = pa.struct([("role", pa.string()), ("text", pa.string()), ("supervised", pa.bool_())])
SCORE = pa.struct([("name", pa.string()), ("of_record", pa.float64()), ("of_answers", pa.list_(pa.float64()))])
IMAGE = pa.struct(
    [
        ("path", pa.string()),
        ("sha256", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("format", pa.string()),
        ("size_bytes", pa.int64()),
        ("repairs", pa.list_(pa.string())),
        ("repaired_sha256", pa.string()),
    ]
)
_WHO = [("record_id", pa.string()), ("source", pa.string()), ("index", pa.int32()), ("original_id", pa.string())]
# where a record was before it came into the annotation file: of rows in Parquet, NULL elsewhere
_ORIGIN = [("subset", pa.string()), ("file", pa.string()), ("row", pa.int64())]
RECORDS_SCHEMA = pa.schema(
    [
        *_WHO,
        ("component", pa.string()),
        ("turns", pa.list_(TURN)),
        ("images", pa.list_(IMAGE)),
        ("num_images", pa.int16()),
        ("num_turns", pa.int32()),
        ("num_chars", pa.int32()),
        ("repairs", pa.list_(pa.string())),
        ("notes", pa.list_(pa.string())),
        ("scores", pa.list_(SCORE)),
        *_ORIGIN,
    ]
)
IMAGES_SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        *IMAGE,
        ("mode", pa.string()),
        ("orientation", pa.int8()),
        ("frames", pa.int32()),
        ("pixel_hash", pa.string()),
        ("phash", pa.uint64()),
        ("notes", pa.list_(pa.string())),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
DROPPED_SCHEMA = pa.schema(
    [*_WHO, ("component", pa.string()), ("reason", pa.string()), ("detail", pa.string()), ("record_json", pa.string())]
)
# One part's records, before their images are known: good ones have no reason. What is not taken is of a component that the
# source leaves out.
CHECKED_SCHEMA = pa.schema(
    [
        ("index", pa.int32()),
        ("original_id", pa.string()),
        ("component", pa.string()),
        ("taken", pa.bool_()),
        ("turns", pa.list_(TURN)),
        ("paths", pa.list_(pa.string())),
        ("num_chars", pa.int32()),
        ("repairs", pa.list_(pa.string())),
        ("notes", pa.list_(pa.string())),
        ("scores", pa.list_(SCORE)),
        *_ORIGIN,
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)


class SteadyWriter:
    """Writes a Parquet file from tables of any length, in row groups of the same length; under its name once it is whole."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path, self._aside = path, path.with_name(f".{path.name}.partial")
        self._writer = pq.ParquetWriter(self._aside, schema)
        self._schema = schema
        self._waiting: list[pa.Table] = []
        self._num_waiting = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._write(whole_groups=False)
        self._writer.close()
        if kind is None:
            publish(self._aside, self._path)

    def add(self, table: pa.Table) -> None:
        """Take rows."""
        self._waiting.append(table)
        self._num_waiting += table.num_rows
        if self._num_waiting >= ROWS_PER_GROUP:
            self._write(whole_groups=True)

    def _write(self, whole_groups: bool) -> None:
        table = pa.concat_tables([self._schema.empty_table(), *self._waiting])
        end = table.num_rows - (table.num_rows % ROWS_PER_GROUP if whole_groups else 0)
        for start in range(0, end, ROWS_PER_GROUP):
            # in one piece: where pieces meet, Parquet would begin another page
            self._writer.write_table(table.slice(start, min(ROWS_PER_GROUP, end - start)).combine_chunks())
        self._waiting = [table.slice(end)]
        self._num_waiting = table.num_rows - end


def write_whole(table: pa.Table, path: Path) -> None:
    """Write a part's table aside, then rename it: it is there whole, or not at all."""
    aside = aside_of(path)
    pq.write_table(table, aside)
    publish(aside, path)


def list_array(values: pa.Array, lengths: list[int]) -> pa.Array:
    """Make lists of the given lengths out of flat values."""
    return pa.ListArray.from_arrays(pc.cumulative_sum(pa.array([0, *lengths], pa.int32())), values)
