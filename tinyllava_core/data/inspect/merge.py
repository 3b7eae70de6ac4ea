"""Put the parts of stage `inspect` together: first the list of images that the records name, then the three tables.

The result depends on the records and images alone, not on how they were cut into parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tinyllava_core.data.inspect.part import Job, Part, paths_file, places_file
from tinyllava_core.data.inspect.tables import (
    DROPPED_SCHEMA,
    IMAGE,
    IMAGES_SCHEMA,
    RECORDS_SCHEMA,
    SteadyWriter,
    list_array,
)
from tinyllava_core.data.record.json_split import read_item
from tinyllava_core.data.record.reason import Reason
from tinyllava_core.data.record.record import record_id
from tinyllava_core.errors import BadInput
from tinyllava_core.results import InspectResult


def check_components(job: Job, parts: Sequence[Part]) -> None:
    """Raises BadInput if a component has another number of records than the manifest says."""
    if not job.components:
        return
    found = Counter[str]()
    for part in parts:
        table = pq.read_table(part.file(job), columns=["component", "reason"])
        read = pc.not_equal(pc.fill_null(table.column("reason"), ""), Reason.MALFORMED.value)
        found.update(table.filter(read).column("component").to_pylist())
    for component in job.components:
        if component.count not in (None, found[component.name]):
            raise BadInput(
                f"{job.annotations}: {found[component.name]} records of component {component.name!r}, the manifest "
                f"expects {component.count}; correct its `count` or the file"
            )


def list_images(job: Job, parts: Sequence[Part]) -> int:
    """Write the list of different paths that the records which stand so far name, in order of appearance -> how many."""
    named = [
        pc.list_flatten(pq.read_table(part.file(job), columns=["paths"]).column("paths")).combine_chunks()
        for part in parts
    ]
    paths = pa.concat_arrays([pa.array([], pa.string()), *named]).dictionary_encode()
    np.save(_which_file(job), paths.indices.to_numpy(zero_copy_only=False))
    write_paths(job, paths.dictionary)
    return len(paths.dictionary)


def write_paths(job: Job, paths: pa.Array) -> None:
    """Leave the list of different image paths for the parts that look at them."""
    batch = pa.record_batch([paths], names=["path"])
    with pa.OSFile(str(paths_file(job)), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)


def merge_parts(job: Job, records: Sequence[Part], images: Sequence[Part], out: Path) -> InspectResult:
    """Write records.parquet, dropped.parquet and images.parquet out of finished parts, and count.

    A record with a faulty image is dropped under the reason of its first faulty one. The parts stay.
    """
    pictures = _Pictures(job, images)
    counts = _Counts()
    with SteadyWriter(out / "images.parquet", IMAGES_SCHEMA) as writer:
        writer.add(pictures.table)
    places = np.load(places_file(job), mmap_mode="r")
    which, at = np.load(_which_file(job)), 0
    with (
        job.annotations.open("rb") as file,
        SteadyWriter(out / "records.parquet", RECORDS_SCHEMA) as good,
        SteadyWriter(out / "dropped.parquet", DROPPED_SCHEMA) as bad,
    ):
        for part in records:
            table = pq.read_table(part.file(job))
            table = table.filter(table.column("taken"))
            num_named = len(pc.list_flatten(table.column("paths")))
            joined = _join(job, table, which[at : at + num_named], pictures)
            at += num_named
            good.add(joined.good)
            bad.add(_with_json(joined.dropped, file, places))
            counts.add(table.num_rows, joined)
    return InspectResult(
        source=job.source,
        num_records=len(places),
        num_good=counts.num_good,
        num_dropped=counts.num_dropped,
        num_left_out=len(places) - counts.num_taken,
        num_images=int(pictures.used.sum()),
        image_bytes=int(pictures.size_bytes[pictures.used].sum()),
        num_repaired=counts.num_repaired,
        num_noted=counts.num_noted,
    )


def _which_file(job: Job) -> Path:
    return job.parts / "which.npy"  # for each image of each record, its place in the list of images


class _Pictures:
    """Every image that was looked at, by its place in the list."""

    def __init__(self, job: Job, parts: Sequence[Part]) -> None:
        tables = [pq.read_table(part.file(job)) for part in parts]
        self.table = pa.concat_tables([IMAGES_SCHEMA.empty_table(), *tables]).combine_chunks()
        self.struct = pa.StructArray.from_arrays(
            [_one_piece(self.table.column(named.name)) for named in IMAGE], fields=list(IMAGE)
        )
        self.bad = self.table.column("reason").is_valid().to_numpy()
        changed = [pc.greater(pc.list_value_length(self.table.column(name)), 0) for name in ("repairs", "notes")]
        self.told = pc.or_(*changed).to_numpy(zero_copy_only=False).astype(bool)
        self.size_bytes = pc.fill_null(self.table.column("size_bytes"), 0).to_numpy()
        self.used = np.zeros(self.table.num_rows, bool)

    def value(self, column: str, place: int) -> Any:
        """Read one value."""
        return self.table.column(column)[place].as_py()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Joined:
    good: pa.Table  # RECORDS_SCHEMA
    dropped: pa.Table  # DROPPED_SCHEMA without record_json


@dataclass(slots=True)
class _Counts:
    num_taken: int = 0
    num_good: int = 0
    num_dropped: int = 0
    num_repaired: int = 0
    num_noted: int = 0

    def add(self, num_taken: int, joined: _Joined) -> None:
        self.num_taken += num_taken
        self.num_good += joined.good.num_rows
        self.num_dropped += joined.dropped.num_rows
        self.num_repaired += _num_filled(joined.good.column("repairs"))
        self.num_noted += _num_filled(joined.good.column("notes"))


def _join(job: Job, table: pa.Table, which: np.ndarray, pictures: _Pictures) -> _Joined:
    """Join one part's records with their images; `which`: the places of their images, flat."""
    reason, detail = table.column("reason").to_pylist(), table.column("detail").to_pylist()
    lengths = pc.list_value_length(table.column("paths")).to_numpy()
    row_of = np.repeat(np.arange(table.num_rows), lengths)  # which row each image belongs to
    faulty = np.flatnonzero(pictures.bad[which])
    for row, first in zip(*(found.tolist() for found in np.unique(row_of[faulty], return_index=True)), strict=True):
        place = int(which[faulty[first]])
        reason[row] = pictures.value("reason", place)
        detail[row] = f"{pictures.value('path', place)}: {pictures.value('detail', place)}"
    stands = np.array([one is None for one in reason], bool)
    good, kept = table.filter(pa.array(stands)), which[stands[row_of]]
    pictures.used[kept] = True
    more = _image_words(pictures, kept, lengths[stands])
    return _Joined(good=_good(job, good, kept, pictures, more), dropped=_dropped(job, table, stands, reason, detail))


def _image_words(pictures: _Pictures, kept: np.ndarray, lengths: np.ndarray) -> dict[str, dict[int, list[str]]]:
    """Collect what was repaired in, and noted of, the images of each record: column -> row -> words."""
    row_of = np.repeat(np.arange(len(lengths)), lengths)
    found: dict[str, dict[int, list[str]]] = {"repairs": {}, "notes": {}}
    for at in np.flatnonzero(pictures.told[kept]).tolist():
        for column, rows in found.items():
            words = rows.setdefault(int(row_of[at]), [])
            words += [word for word in pictures.value(column, int(kept[at])) if word not in words]
    return found


def _good(
    job: Job, table: pa.Table, kept: np.ndarray, pictures: _Pictures, more: dict[str, dict[int, list[str]]]
) -> pa.Table:
    lengths = pc.list_value_length(table.column("paths")).to_pylist()
    columns = {
        **_who(job, table),
        "turns": table.column("turns"),
        "images": list_array(pictures.struct.take(pa.array(kept, pa.int64())), lengths),
        "num_images": pa.array(lengths, pa.int16()),
        "num_turns": pc.list_value_length(table.column("turns")),
        "num_chars": table.column("num_chars"),
        "repairs": _extended(table.column("repairs"), more["repairs"]),
        "notes": _extended(table.column("notes"), more["notes"]),
        **{name: table.column(name) for name in ("scores", "subset", "file", "row")},
    }
    return pa.table([columns[named.name] for named in RECORDS_SCHEMA], schema=RECORDS_SCHEMA)


def _dropped(
    job: Job, table: pa.Table, stands: np.ndarray, reason: list[str | None], detail: list[str | None]
) -> pa.Table:
    rows = np.flatnonzero(~stands)
    columns = {
        **_who(job, table.take(rows)),
        "reason": pa.array([reason[row] for row in rows], pa.string()),
        "detail": pa.array([detail[row] for row in rows], pa.string()),
    }
    return pa.table(columns)


def _who(job: Job, table: pa.Table) -> dict[str, Any]:
    return {
        "record_id": pa.array([record_id(job.source, index) for index in table.column("index").to_pylist()]),
        "source": pa.array([job.source] * table.num_rows, pa.string()),
        "index": table.column("index"),
        "original_id": table.column("original_id"),
        "component": table.column("component"),
    }


def _with_json(dropped: pa.Table, file: BinaryIO, places: np.ndarray) -> pa.Table:
    written = [read_item(file, places[index]) for index in dropped.column("index").to_pylist()]
    table = dropped.append_column("record_json", pa.array(written, pa.string()))
    return table.cast(DROPPED_SCHEMA)


def _extended(column: pa.ChunkedArray, more: dict[int, list[str]]) -> Any:
    if not more:
        return column
    rows = column.to_pylist()
    for row, words in more.items():
        rows[row] += [word for word in words if word not in rows[row]]
    return pa.array(rows, column.type)


def _num_filled(column: pa.ChunkedArray) -> int:
    return int(pc.sum(pc.greater(pc.list_value_length(column), 0)).as_py() or 0)


def _one_piece(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays([pa.array([], column.type), *column.chunks])
