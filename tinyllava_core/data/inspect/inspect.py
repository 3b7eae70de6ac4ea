"""Stage `inspect`: look at every record and every image of one source once; keep the good, and the bad under a reason.

Nothing is lost: good + dropped = all. It changes no file: what is mended in a record's turns is mended in the table, what
has to be mended in an image is named there, and `shard` does it (repair.py). docs/inspect.md says what becomes of what.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.data.inspect.merge import check_components, list_images, merge_parts
from tinyllava_core.data.inspect.part import Job, Look, Part, cut, inspect_part, places_file
from tinyllava_core.data.inspect.picture import look
from tinyllava_core.data.manifest.component import Component
from tinyllava_core.data.manifest.local_copies import A_PART_OF_IT
from tinyllava_core.data.record.conversation import NO_LIMITS
from tinyllava_core.data.record.formats import parser
from tinyllava_core.data.record.json_split import item_places
from tinyllava_core.errors import BadInput
from tinyllava_core.job import Progress
from tinyllava_core.results import DownloadResult, InspectResult
from tinyllava_core.settings.inspect import Inspect
from tinyllava_core.workers import RunParts, num_cpus, run_parts

VERSION = 4
RECORDS_PER_PART, IMAGES_PER_PART = 10_000, 2_000
_BYTES_WORTH_A_PROCESS, _IMAGES_WORTH_A_PROCESS = 64_000_000, 4_000  # less is done sooner than a process has started

OnProgress = Callable[[Progress], None]


def inspect_source(
    downloaded: Path,
    result: DownloadResult,
    format: str,
    max_lost_fraction: float,
    out: Path,
    *,
    images: ImagePlaces | None = None,
    components: Sequence[Component] = (),
    limits: Inspect = NO_LIMITS,
    look: Look = look,
    expected_count: int | None = None,
    as_own: str = "",
    processes: int | None = None,
    run_parts: RunParts = run_parts,
    on_progress: OnProgress | None = None,
) -> InspectResult:
    """Write records.parquet (good), dropped.parquet (bad, each under its first reason) and images.parquet of one source.

    `downloaded`: the artifact folder of stage download; `images`: where the pictures are (None: all in the download's own
    folder); `components`, `expected_count`: the manifest's, if it has them; `as_own`: the manifest of
    another file with these pictures, for the error about another count; `look`: what is asked about an image, a module's
    function; `processes`: None for as many as there are cores, and work for. `out` may hold what a killed life left: finished parts
    are kept, and the bytes are the same whatever was killed, on any number of processes.
    Raises BadInput if the annotation file is broken (file, line), has another number of records than expected (all in all,
    or of a component), or none, or if more than `max_lost_fraction` of them is dropped.
    """
    parser(format)  # known, or an error now
    assert result.annotations is not None, f"{result.source} has no annotations: it is no source"
    job = Job(
        source=result.source,
        annotations=downloaded / result.annotations,  # an absolute path stays itself
        format=format,
        images=images or ImagePlaces.one(downloaded / result.image_root),
        components=tuple(components),
        limits=limits,
        parts=out / "parts",
        look=look,
    )
    num_records = _find_records(job, expected_count, as_own)
    size_bytes = job.annotations.stat().st_size
    records = cut("records", num_records, RECORDS_PER_PART)
    _do(job, records, processes or min(num_cpus(), 1 + size_bytes // _BYTES_WORTH_A_PROCESS), run_parts, on_progress)
    check_components(job, records)
    num_images = list_images(job, records)
    pictures = cut("images", num_images, IMAGES_PER_PART)
    _do(job, pictures, processes or min(num_cpus(), 1 + num_images // _IMAGES_WORTH_A_PROCESS), run_parts, on_progress)
    found = merge_parts(job, records, pictures, out)
    assert found.num_good + found.num_dropped + found.num_left_out == num_records, "a record was lost on the way"
    check_lost(found, out, max_lost_fraction)
    shutil.rmtree(job.parts)
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


def _find_records(job: Job, expected_count: int | None, as_own: str) -> int:
    """Leave the places of the records for the parts, and count them."""
    places = item_places(job.annotations)
    if not len(places):
        raise BadInput(f"{job.annotations}: no records")
    if expected_count not in (None, len(places)):
        raise BadInput(
            f"{job.annotations}: {len(places)} records, the manifest expects {expected_count}; correct `count` or the file"
            + (f"; {A_PART_OF_IT}{as_own}" if as_own else "")
        )
    job.parts.mkdir(parents=True, exist_ok=True)
    np.save(places_file(job), places)
    return len(places)


def _do(job: Job, parts: Sequence[Part], processes: int, run_parts: RunParts, on_progress: OnProgress | None) -> None:
    """Do the parts that are not there yet."""
    total = parts[-1].last if parts else 0
    missing = [part for part in parts if not part.file(job).is_file()]
    done = total - sum(part.last - part.first for part in missing)
    for part, _ in run_parts(partial(inspect_part, job), missing, processes):
        done += part.last - part.first
        if on_progress:
            on_progress(Progress(done=done, total=total, unit=part.kind, note=job.source))
