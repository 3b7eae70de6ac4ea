"""Give inspected records by their ids, in any order, in little memory. It changes none.

records.parquet is good to read from front to back only; for the mix's order it is once laid out uncompressed on the disk
and read by memory map.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tinyllava_core.data.record import InspectedSource
from tinyllava_core.errors import BadInput

_COLUMNS = ["record_id", "turns", "images"]
_BATCH = 4096  # rows


class RecordLookup:
    """The records of one source, as `open_records` gives it."""

    def __init__(self, name: str, reader: pa.ipc.RecordBatchFileReader) -> None:
        self._name = name
        self._batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        self._starts = np.cumsum([0] + [batch.num_rows for batch in self._batches])
        ids = [batch.column("record_id") for batch in self._batches]
        self._ids = pa.chunked_array(ids, pa.string()).combine_chunks()

    def rows(self, record_ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """Find the row of each id. Raises BadInput if the source has no such record."""
        rows = pc.index_in(record_ids, value_set=self._ids)
        if rows.null_count:
            missing = pc.filter(record_ids, pc.is_null(rows))[0].as_py()
            raise BadInput(
                f"source {self._name!r} has no record {missing!r}: the mix was made of other records; make it again"
            )
        return rows.to_numpy(zero_copy_only=False)

    def record(self, row: int) -> dict[str, Any]:
        """Read one row: record_id, turns, images as records.parquet has them."""
        batch = int(np.searchsorted(self._starts, row, side="right")) - 1
        found: dict[str, Any] = self._batches[batch].slice(row - int(self._starts[batch]), 1).to_pylist()[0]
        return found


@contextmanager
def open_records(sources: Sequence[InspectedSource], scratch: Path) -> Iterator[dict[str, RecordLookup]]:
    """Open the records of each source by its name; `scratch` is a folder for the laid-out copies, emptied at the end."""
    files: list[Path] = []
    maps: list[pa.MemoryMappedFile] = []
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        lookups = {}
        for source in sources:
            files.append(scratch / f"{source.name}.arrow")
            _lay_out(source.records / "records.parquet", files[-1])
            maps.append(pa.memory_map(str(files[-1])))
            lookups[source.name] = RecordLookup(source.name, pa.ipc.open_file(maps[-1]))
        yield lookups
    finally:
        for opened in maps:
            opened.close()
        for file in files:
            file.unlink(missing_ok=True)
        scratch.rmdir()


def _lay_out(parquet: Path, to: Path) -> None:
    with pq.ParquetFile(parquet) as source:
        schema = pa.schema([source.schema_arrow.field(name) for name in _COLUMNS])
        with pa.OSFile(str(to), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for batch in source.iter_batches(_BATCH, columns=_COLUMNS):
                writer.write_batch(batch.cast(schema) if batch.schema != schema else batch)
