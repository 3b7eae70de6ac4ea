"""Stage `inspect` of a benchmark: every picture that its questions ask about looked at once, as a source's pictures are.

So that a training picture can be compared with them. It judges no question and keeps no answer.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.data.inspect.merge import write_paths
from tinyllava_core.data.inspect.part import Job, cut, inspect_part
from tinyllava_core.data.inspect.tables import DROPPED_SCHEMA, IMAGES_SCHEMA, RECORDS_SCHEMA, SteadyWriter
from tinyllava_core.data.record.conversation import NO_LIMITS
from tinyllava_core.data.record.record import record_id
from tinyllava_core.job import Progress
from tinyllava_core.results import InspectResult
from tinyllava_core.workers import num_cpus, run_parts

VERSION = 1
IMAGES_PER_PART = 2_000
_IMAGES_WORTH_A_PROCESS = 4_000


def inspect_benchmark(
    name: str,
    asked: Sequence[tuple[str, str | None]],
    images: ImagePlaces,
    out: Path,
    *,
    processes: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> InspectResult:
    """Write images.parquet of a benchmark, and dropped.parquet with the questions whose picture is faulty.

    `asked`: for each question its id, and its picture's path if it has one. No picture is refused for its size.
    """
    job = Job(source=name, annotations=Path(), format="", images=images, limits=NO_LIMITS, parts=out / "parts")
    job.parts.mkdir(parents=True, exist_ok=True)
    paths = list(dict.fromkeys(path for _, path in asked if path is not None))
    write_paths(job, pa.array(paths, pa.string()))
    parts = cut("images", len(paths), IMAGES_PER_PART)
    done, processes = 0, processes or min(num_cpus(), 1 + len(paths) // _IMAGES_WORTH_A_PROCESS)
    for part, _ in run_parts(partial(inspect_part, job), parts, processes):
        done += part.last - part.first
        if on_progress:
            on_progress(Progress(done=done, total=len(paths), unit="images", note=name))
    with SteadyWriter(out / "images.parquet", IMAGES_SCHEMA) as writer:
        for part in parts:
            writer.add(pq.read_table(part.file(job)))
    shutil.rmtree(job.parts)
    pq.write_table(RECORDS_SCHEMA.empty_table(), out / "records.parquet")
    return _told(name, asked, out)


def _told(name: str, asked: Sequence[tuple[str, str | None]], out: Path) -> InspectResult:
    """Write the questions with a faulty picture, and count."""
    table = pq.read_table(out / "images.parquet", columns=["path", "reason", "detail", "size_bytes"])
    looked_at = {row["path"]: row for row in table.to_pylist()}
    faulty = [
        {
            "record_id": record_id(name, index),
            "source": name,
            "index": index,
            "original_id": question_id,
            "reason": looked_at[path]["reason"],
            "detail": f"{path}: {looked_at[path]['detail']}",
            "record_json": json.dumps({"question_id": question_id, "image": path}),
        }
        for index, (question_id, path) in enumerate(asked)
        if path is not None and looked_at[path]["reason"] is not None
    ]
    pq.write_table(pa.Table.from_pylist(faulty, DROPPED_SCHEMA), out / "dropped.parquet")
    good = [row for row in looked_at.values() if row["reason"] is None]
    return InspectResult(
        source=name,
        num_records=len(asked),
        num_good=len(asked) - len(faulty),
        num_dropped=len(faulty),
        num_left_out=0,
        num_images=len(good),
        image_bytes=sum(row["size_bytes"] for row in good),
        num_repaired=0,
        num_noted=0,
    )
