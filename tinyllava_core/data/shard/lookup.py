"""Give inspected records by their ids, in any order, in little memory. It changes none.

records.parquet is good to read from front to back only; for the mix's order it is once laid out uncompressed on the disk
and read by memory map, by every process that writes shards.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tinyllava_core.errors import BadInput

_COLUMNS = ["record_id", "turns", "images"]
_BATCH = 4096  # rows


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRecord:
    """One record as records.parquet has it."""

    record_id: str
    turns: list[dict[str, Any]]  # role, text
    images: list[dict[str, Any]]  # path, sha256, width, height, ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LaidOut:
    """What is kept in memory of one source's records: columns, a row each."""

    name: str
    ids: pa.Array
    num_chars: np.ndarray  # of all turns
    image_rows: np.ndarray  # row of each image, in order
    image_sizes: np.ndarray  # bytes of each image's file
    image_sides: np.ndarray  # longer side of each image, pixels

    def rows(self, record_ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """Find the row of each id. Raises BadInput if the source has no such record."""
        rows = pc.index_in(record_ids, value_set=self.ids)
        if rows.null_count:
            missing = pc.filter(record_ids, pc.is_null(rows))[0].as_py()
            raise BadInput(
                f"source {self.name!r} has no record {missing!r}: the mix was made of other records; make it again"
            )
        return rows.to_numpy(zero_copy_only=False)


def lay_out(name: str, records: Path, file: Path) -> LaidOut:
    """Copy the records of one source (a folder of stage inspect) to `file`, for RecordFile; give what is needed of them all."""
    parts: dict[str, list[Any]] = {"ids": [], "num_chars": [], "image_rows": [], "image_sizes": [], "image_sides": []}
    start = 0
    with pq.ParquetFile(records / "records.parquet") as source:
        schema = pa.schema([source.schema_arrow.field(column) for column in _COLUMNS])
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for batch in source.iter_batches(_BATCH, columns=[*_COLUMNS, "num_chars"]):
                images = batch.column("images")
                counts = np.diff(images.offsets.to_numpy())
                pictures = images.flatten()
                sides = np.maximum(*(_numbers(pictures.field(side)) for side in ("width", "height")))
                parts["ids"].append(batch.column("record_id"))
                parts["num_chars"].append(_numbers(batch.column("num_chars")))
                parts["image_rows"].append(np.repeat(np.arange(start, start + batch.num_rows), counts))
                parts["image_sizes"].append(_numbers(pictures.field("size_bytes")))
                parts["image_sides"].append(sides)
                start += batch.num_rows
                writer.write_batch(batch.select(_COLUMNS).cast(schema))
    ids = pa.chunked_array(parts.pop("ids"), pa.string()).combine_chunks()
    numbers = {key: np.concatenate([np.empty(0, np.int64), *found]) for key, found in parts.items()}
    return LaidOut(name=name, ids=ids, **numbers)


class RecordFile:
    """The records that `lay_out` wrote, by their rows."""

    def __init__(self, file: Path) -> None:
        reader = pa.ipc.open_file(pa.memory_map(str(file)))
        self._batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]  # maps, not copies
        self._starts = np.cumsum([0] + [batch.num_rows for batch in self._batches])

    def read(self, rows: np.ndarray) -> list[StoredRecord]:
        """Read records by their rows, in the order asked for."""
        found: dict[int, StoredRecord] = {}
        batch_of = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(batch_of).tolist():
            places = np.flatnonzero(batch_of == number)
            batch = self._batches[number].take(pa.array(rows[places] - self._starts[number]))
            found.update(zip(places.tolist(), _records(batch), strict=True))
        return [found[place] for place in range(len(rows))]


def _records(batch: pa.RecordBatch) -> list[StoredRecord]:
    """Turn a batch into records, column by column: a seventh of what `to_pylist` costs on nested rows."""
    turns, images = (_nested(batch.column(name)) for name in ("turns", "images"))
    ids = batch.column("record_id").to_pylist()
    return [StoredRecord(record_id=i, turns=t, images=p) for i, t, p in zip(ids, turns, images, strict=True)]


def _nested(column: pa.ListArray) -> list[list[dict[str, Any]]]:
    inner = column.flatten()
    names = [inner.type.field(number).name for number in range(inner.type.num_fields)]
    values = [inner.field(number).to_pylist() for number in range(len(names))]
    items = [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]
    ends = np.cumsum(pc.list_value_length(column).to_numpy()).tolist()
    return [items[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _numbers(column: pa.Array) -> np.ndarray:
    return column.to_numpy(zero_copy_only=False).astype(np.int64)
