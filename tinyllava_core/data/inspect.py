"""Stage `inspect`: look at every record and every image of one source once; keep the good, and the bad under a reason.

Nothing is lost: good + dropped = all. It changes no file; the few repairs of a record's turns are noted with it.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from tinyllava_core.data.component import OTHER, Component
from tinyllava_core.data.conversation import Checked, Dropped, check
from tinyllava_core.data.json_items import json_items
from tinyllava_core.data.picture import Picture, look
from tinyllava_core.data.places import ImagePlaces
from tinyllava_core.data.reason import Reason
from tinyllava_core.data.record import PARSERS, Malformed, record_id
from tinyllava_core.errors import BadInput, unknown
from tinyllava_core.job import Progress
from tinyllava_core.results import DownloadResult, InspectResult

VERSION = 2
_BATCH = 10_000  # records looked at, then written, at a time

_TURN = pa.struct([("role", pa.string()), ("text", pa.string())])
_IMAGE = pa.struct(
    [
        ("path", pa.string()),
        ("sha256", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("format", pa.string()),
        ("size_bytes", pa.int64()),
    ]
)
_WHO = [("record_id", pa.string()), ("source", pa.string()), ("index", pa.int32()), ("original_id", pa.string())]
RECORDS_SCHEMA = pa.schema(
    [
        *_WHO,
        ("component", pa.string()),
        ("turns", pa.list_(_TURN)),
        ("images", pa.list_(_IMAGE)),
        ("num_images", pa.int16()),
        ("num_turns", pa.int16()),
        ("num_chars", pa.int32()),
        ("repairs", pa.list_(pa.string())),
    ]
)
IMAGES_SCHEMA = pa.schema([("source", pa.string()), *_IMAGE, ("reason", pa.string())])
DROPPED_SCHEMA = pa.schema(
    [*_WHO, ("component", pa.string()), ("reason", pa.string()), ("detail", pa.string()), ("record_json", pa.string())]
)


def inspect_source(
    downloaded: Path,
    result: DownloadResult,
    format: str,
    max_lost_fraction: float,
    out: Path,
    *,
    images: ImagePlaces | None = None,
    components: Sequence[Component] = (),
    expected_count: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> InspectResult:
    """Write records.parquet (good), dropped.parquet (bad, each under its first reason) and images.parquet of one source.

    `downloaded`: the artifact folder of stage download; `images`: where the pictures are (None: all in the download's own
    folder); `components`, `expected_count`: the manifest's, if it has them.
    Raises BadInput if the annotation file is broken (file, line), has another number of records than expected (all in all,
    or of a component), or none, or if more than `max_lost_fraction` of them is dropped.
    """
    assert result.annotations is not None, f"{result.source} has no annotations: it is no source"
    annotations = downloaded / result.annotations  # an absolute path stays itself
    source = _Source(result.source, images or ImagePlaces.one(downloaded / result.image_root), format, components)
    with _Tables(out) as tables, ThreadPoolExecutor(_num_cpus()) as pool:
        for batch in _batches(enumerate(json_items(annotations))):
            judged = [verdict for index, item in batch if (verdict := source.check(index, item))]
            tables.pictures(source.name, source.look_at_new(judged, pool))
            for verdict in judged:
                tables.add(source.judge(verdict))
            tables.flush()
            if on_progress:
                on_progress(
                    Progress(done=source.num_records, total=expected_count or 0, unit="records", note=source.name)
                )
    assert tables.num_good + tables.num_dropped + source.num_left_out == source.num_records, (
        "a record was lost on the way"
    )
    source.check_counts(annotations, expected_count)
    found = InspectResult(
        source=source.name,
        num_records=source.num_records,
        num_left_out=source.num_left_out,
        num_good=tables.num_good,
        num_dropped=tables.num_dropped,
        num_images=len(tables.good_images),
        image_bytes=sum(tables.good_images.values()),
    )
    check_lost(found, out, max_lost_fraction)
    return found


def check_lost(result: InspectResult, inspected: Path, max_lost_fraction: float) -> None:
    """Raise BadInput, with the reasons counted, if a source lost more than this fraction of its records, or all."""
    lost, file = result.num_dropped, inspected / "dropped.parquet"
    taken = result.num_records - result.num_left_out
    if lost <= max_lost_fraction * taken and result.num_good:
        return
    reasons = Counter(pq.read_table(file, columns=["reason"])["reason"].to_pylist())
    counts = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
    told = (
        f"source {result.source!r}: {lost} of {taken} records are unusable ({counts}), each in {file} with its reason"
    )
    if not result.num_good:
        raise BadInput(f"{told}: none is left; mend the data")
    raise BadInput(
        f"{told}: more than max_lost_fraction {max_lost_fraction:g}; mend the data, or raise the stage's max_lost_fraction"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One judged record as a row of records.parquet or, with a reason, of dropped.parquet."""

    values: dict[str, Any]
    reason: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """One item of the annotation file, and what its conversation says about it."""

    index: int
    item: Any
    component: str
    verdict: Checked | Dropped


class _Source:
    """One source's way from an item to a judged row; knows each picture it has looked at."""

    def __init__(self, name: str, images: ImagePlaces, format: str, components: Sequence[Component]) -> None:
        if format not in PARSERS:
            raise unknown("annotation format", format, PARSERS)
        self.name, self._images, self._parse = name, images, PARSERS[format]
        self._components, self._counts = components, Counter[str]()
        self._pictures: dict[str, Picture] = {}
        self.num_records = self.num_left_out = 0

    def check(self, index: int, item: Any) -> _Judged | None:
        """Parse one item and judge its conversation; None if it is of a component that the source leaves out."""
        self.num_records += 1
        try:
            record = self._parse(self.name, index, item)
        except Malformed as fault:
            return _Judged(
                index=index,
                item=item,
                component=OTHER if self._components else self.name,
                verdict=Dropped(reason=Reason.MALFORMED, detail=str(fault)),
            )
        component = next((one for one in self._components if one.claims(record.images)), None)
        name = component.name if component else OTHER if self._components else self.name
        self._counts[name] += 1
        if component and not component.take:
            self.num_left_out += 1
            return None
        return _Judged(index=index, item=item, component=name, verdict=check(record))

    def check_counts(self, annotations: Path, expected: int | None) -> None:
        """Raises BadInput if the file, or a component of it, has another number of records than expected, or none."""
        if self.num_records == 0:
            raise BadInput(f"{annotations}: no records")
        if expected not in (None, self.num_records):
            raise BadInput(
                f"{annotations}: {self.num_records} records, the manifest expects {expected}; correct `count` or the file"
            )
        for component in self._components:
            if component.count not in (None, self._counts[component.name]):
                raise BadInput(
                    f"{annotations}: {self._counts[component.name]} records of component {component.name!r}, the manifest "
                    f"expects {component.count}; correct its `count` or the file"
                )

    def look_at_new(self, judged: list[_Judged], pool: ThreadPoolExecutor) -> list[Picture]:
        """Look at the pictures of the records that stand so far, each once in the whole source, in order of appearance."""
        standing = (one.verdict for one in judged if isinstance(one.verdict, Checked))
        named = (path for verdict in standing for path in verdict.record.images)
        new = [path for path in dict.fromkeys(named) if path not in self._pictures]
        pictures = list(pool.map(lambda path: look(self._images, path), new))
        self._pictures.update(zip(new, pictures, strict=True))
        return pictures

    def judge(self, judged: _Judged) -> _Row:
        """Join what the conversation and the pictures say into one row."""
        verdict = judged.verdict
        if isinstance(verdict, Checked):
            for path in verdict.record.images:
                picture = self._pictures[path]
                if picture.reason is not None:
                    verdict = Dropped(reason=picture.reason, detail=f"{path}: {picture.detail}")
                    break
        who = {
            "record_id": record_id(self.name, judged.index),
            "source": self.name,
            "index": judged.index,
            "original_id": _original_id(judged.item),
            "component": judged.component,
        }
        if isinstance(verdict, Dropped):
            more = {"reason": verdict.reason.value, "detail": verdict.detail, "record_json": json.dumps(judged.item)}
            return _Row(values=who | more, reason=verdict.reason)
        record = verdict.record
        return _Row(
            values=who
            | {
                "turns": [{"role": turn.role, "text": turn.text} for turn in record.turns],
                "images": [_image_row(self._pictures[path]) for path in record.images],
                "num_images": len(record.images),
                "num_turns": len(record.turns),
                "num_chars": sum(len(turn.text) for turn in record.turns),
                "repairs": [repair.value for repair in verdict.repairs],
            }
        )


class _Tables:
    """The three tables being written, and what is counted on the way."""

    def __init__(self, out: Path) -> None:
        self.num_good = self.num_dropped = 0
        self.good_images: dict[str, int] = {}  # path -> bytes
        self._records = pq.ParquetWriter(out / "records.parquet", RECORDS_SCHEMA)
        self._images = pq.ParquetWriter(out / "images.parquet", IMAGES_SCHEMA)
        self._dropped = pq.ParquetWriter(out / "dropped.parquet", DROPPED_SCHEMA)
        self._good_rows: list[dict[str, Any]] = []
        self._bad_rows: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in (self._records, self._images, self._dropped):
            writer.close()

    def add(self, row: _Row) -> None:
        """Take one judged record; `flush` writes it."""
        if row.reason is not None:
            self._bad_rows.append(row.values)
            return
        self._good_rows.append(row.values)
        self.good_images.update((image["path"], image["size_bytes"]) for image in row.values["images"])

    def flush(self) -> None:
        """Write the records taken since the last time."""
        self._records.write_table(pa.Table.from_pylist(self._good_rows, RECORDS_SCHEMA))
        self._dropped.write_table(pa.Table.from_pylist(self._bad_rows, DROPPED_SCHEMA))
        self.num_good += len(self._good_rows)
        self.num_dropped += len(self._bad_rows)
        self._good_rows, self._bad_rows = [], []

    def pictures(self, source: str, pictures: list[Picture]) -> None:
        """Write the pictures that were looked at."""
        rows = [
            {"source": source} | _image_row(picture) | {"reason": picture.reason.value if picture.reason else None}
            for picture in pictures
        ]
        self._images.write_table(pa.Table.from_pylist(rows, IMAGES_SCHEMA))


def _image_row(picture: Picture) -> dict[str, Any]:
    return {field.name: getattr(picture, field.name) for field in _IMAGE}


def _original_id(item: Any) -> str:
    written = item.get("id", "") if isinstance(item, dict) else ""
    return str(written).encode(errors="backslashreplace").decode()


def _batches(pairs: Iterator[tuple[int, Any]]) -> Iterator[list[tuple[int, Any]]]:
    while batch := list(islice(pairs, _BATCH)):
        yield batch


def _num_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
