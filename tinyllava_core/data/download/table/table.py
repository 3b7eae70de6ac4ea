"""Fetch a table of image URLs with img2dataset: as a supervised process tree, judged by its files, row by row.

Images keep their bytes (nothing is decoded or re-encoded here); a row that fails is kept under a reason, after further
passes over those rows where one may help. It does not judge the images: `inspect` does.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tinyllava_core.artifact import file_sha256, write_aside
from tinyllava_core.data.download.table.attempt import Attempt, Note, Notes
from tinyllava_core.data.download.table.fault import MAY_PASS, FetchFault, fault_of
from tinyllava_core.data.download.table.one_pass import UrlPass
from tinyllava_core.data.web.patience import Patience
from tinyllava_core.errors import BadInput
from tinyllava_core.room import no_room

_FEW_UNFORESEEN, _MOST_UNFORESEEN = 20, 0.05  # rows, and share of a table, that may fail for reasons nobody foresaw
Distributor = Literal["multiprocessing", "pyspark", "ray"]
FAILURE_SCHEMA = pa.schema(
    [("url", pa.string()), ("name", pa.string()), ("reason", pa.string()), ("detail", pa.string())]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlRow:
    """One image to fetch."""

    name: str  # path under the image root
    url: str  # absolute
    written: str  # the URL as the manifest's world writes it, without its secrets: what is kept
    sha256: str = ""  # of its bytes; "": the table does not say
    fault: FetchFault = FetchFault.BAD_URL  # why it is not asked for, if it is not
    detail: str = ""  # the same in words; "": nothing was found that speaks against it


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One row that did not become a file: a row of failures.parquet."""

    url: str
    name: str
    reason: FetchFault
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedTable:
    """What came of a table: the rows that failed, and every attempt at every row, in the table's order."""

    failures: tuple[Failure, ...]
    attempts: tuple[Attempt, ...]


def fetch_images(
    rows: Sequence[UrlRow],
    images: Path,
    work: Path,
    *,
    min_success: float = 0.0,
    distributor: Distributor = "multiprocessing",
    patience: Patience | None = None,
    on_rows: Callable[[int], None] | None = None,
    allow_hosts: Collection[str] = (),
) -> FetchedTable:
    """Fetch each row's image to `images/<name>`.

    `work` keeps what was fetched, so that a killed call goes on where it was; the images are hard links into it, so it
    may be removed after. `allow_hosts`: hosts (or host:port) that need not be public. Raises BadInput if the distributor's
    package is missing, or if a smaller share than `min_success` came (the next call then tries again what may have passed),
    Stalled if nothing moves for `patience.stall_s`, RuntimeError if img2dataset gave up or too much was unforeseen.
    """
    _require(distributor)
    patience = patience or Patience()
    _begin(work, rows)
    open_rows, answers, attempts = _askable(rows), dict[int, _Answer](), list[Attempt]()
    short = work / "short"  # how many earlier calls found too few images
    passes = 1 + patience.image_retries * (1 + (int(short.read_text()) if short.exists() else 0))
    for number in range(passes):
        if number and open_rows:
            open_rows = [place for place in open_rows if answers[place].fault in MAY_PASS]
        if not open_rows:
            break
        one = UrlPass(work / f"pass-{number}", [(place, rows[place].url) for place in open_rows])
        if number and not one.finished:
            time.sleep(patience.wait_s(number, max((answers[place].asked_s for place in open_rows), default=0.0)))
        tell = None if on_rows is None else _counted(on_rows, len(answers), number)
        one.run(distributor, patience, tell, allow_hosts)
        for place, answer in _answers(one, rows, open_rows):
            answers[place] = answer
            attempts.append(_attempt(rows[place], number, answer))
    failures = tuple(_failures(rows, answers))
    if len(rows) - len(failures) < min_success * len(rows):
        write_aside(short, str(1 + (int(short.read_text()) if short.exists() else 0)))
        raise _too_few(len(rows), failures, min_success)
    for place, answer in answers.items():
        if answer.file is not None:
            answers[place] = _linked(answer, images / rows[place].name)
    failures = tuple(_failures(rows, answers))
    _check_foreseen(len(rows), failures)
    order = {row.name: place for place, row in enumerate(rows)}
    return FetchedTable(
        failures=failures, attempts=tuple(sorted(attempts, key=lambda one: (order[one.name], one.attempt)))
    )


def write_failures(failures: Sequence[Failure], path: Path) -> None:
    """Write failures.parquet."""
    rows = [{"url": f.url, "name": f.name, "reason": f.reason.value, "detail": f.detail} for f in failures]
    pq.write_table(pa.Table.from_pylist(rows, FAILURE_SCHEMA), path)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What came of one row in its last pass."""

    file: Path | None  # None: it failed
    fault: FetchFault | None
    detail: str = ""
    note: Note | None = None

    @property
    def asked_s(self) -> float:
        return self.note.asked_s if self.note else 0.0


def _require(distributor: Distributor) -> None:
    """Raise BadInput unless the distributor can work here: without ray, img2dataset's would return at once, having done nothing."""
    if distributor == "multiprocessing":
        return
    missing = importlib.util.find_spec(distributor) is None
    if missing or (distributor == "pyspark" and shutil.which("java") is None and "JAVA_HOME" not in os.environ):
        what = f"the package {distributor} (pip install 'tinyllava-pipelines[{distributor}]')" if missing else "Java"
        raise BadInput(
            f"url_table.distributor {distributor!r} needs {what}, which is not installed; or take 'multiprocessing'"
        )


def _begin(work: Path, rows: Sequence[UrlRow]) -> None:
    """Make `work` ready for these rows: what is there stays if it was begun for the same ones, else it goes."""
    digest = hashlib.sha256("\n".join(f"{row.name}\t{row.written}" for row in rows).encode()).hexdigest()
    mark = work / "rows.sha256"
    if not mark.exists() or mark.read_text() != digest:
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    write_aside(mark, digest)


def _askable(rows: Sequence[UrlRow]) -> list[int]:
    """List the rows that img2dataset may be given: those with a fetchable URL (urllib would open file:// too)."""
    return [
        place
        for place, row in enumerate(rows)
        if not row.detail and row.url.lower().startswith(("http://", "https://"))
    ]


def _counted(on_rows: Callable[[int], None], num_rows: int, number: int) -> Callable[[int], None]:
    """Tell rows done of the first pass as they come; a later pass is over rows that were told already."""
    return on_rows if number == 0 else lambda _: on_rows(num_rows)


def _answers(one: UrlPass, rows: Sequence[UrlRow], places: Sequence[int]) -> Iterator[tuple[int, _Answer]]:
    """Give what came of each row of a pass."""
    notes = Notes(one.notes)
    told = one.told()
    for place in places:
        note = notes.take(rows[place].url)
        row = told.get(place)
        if row is None:
            yield (
                place,
                _Answer(
                    file=None, fault=FetchFault.UNFORESEEN, detail="img2dataset left no word about this row", note=note
                ),
            )
        elif row.file is None:
            yield place, _Answer(file=None, fault=fault_of(row.error), detail=row.error, note=note)
        elif not row.file.is_file():
            detail = "img2dataset says that it came, and there is no file"
            yield place, _Answer(file=None, fault=FetchFault.UNFORESEEN, detail=detail, note=note)
        elif detail := _not_an_image(row.file):
            yield place, _Answer(file=None, fault=FetchFault.NOT_AN_IMAGE, detail=detail, note=note)
        elif rows[place].sha256 and (found := file_sha256(row.file)) != rows[place].sha256:
            detail = f"its sha256 is {found}, the table has {rows[place].sha256}"
            yield place, _Answer(file=None, fault=FetchFault.OTHER_BYTES, detail=detail, note=note)
        else:
            yield place, _Answer(file=row.file, fault=None, note=note)


def _attempt(row: UrlRow, number: int, answer: _Answer) -> Attempt:
    note = answer.note
    size = answer.file.stat().st_size if answer.file else note.size_bytes if note else None
    return Attempt(
        url=row.written,
        name=row.name,
        attempt=number,
        reason=answer.fault,
        http_status=note.http_status if note else None,
        size_bytes=size,
        milliseconds=note.milliseconds if note else None,
    )


def _failures(rows: Sequence[UrlRow], answers: dict[int, _Answer]) -> Iterator[Failure]:
    """Give a failure for each row without a file."""
    for place, row in enumerate(rows):
        answer = answers.get(place)
        if answer is None:
            yield Failure(
                url=row.written, name=row.name, reason=row.fault, detail=row.detail or "expected an http(s) URL"
            )
        elif answer.fault is not None:
            yield Failure(url=row.written, name=row.name, reason=answer.fault, detail=answer.detail)


def _too_few(num_rows: int, failures: Sequence[Failure], min_success: float) -> BadInput:
    came = num_rows - len(failures)
    reasons = ", ".join(
        f"{reason} {count}" for reason, count in Counter(f.reason.value for f in failures).most_common(5)
    )
    return BadInput(
        f"{came} of {num_rows} images came ({100 * came / num_rows:.1f} %), less than min_success = {min_success:g}; failed: "
        f"{reasons}. Run it again to retry what may have passed, or lower min_success in the manifest"
    )


def _not_an_image(file: Path) -> str:
    """Say why a file cannot even be a picture; "" if its first bytes are a picture's."""
    if file.stat().st_size == 0:
        return "no bytes"
    try:
        with Image.open(file):
            return ""
    except Image.DecompressionBombError:
        return ""  # a picture it is; whether too big a one, inspect says
    except Exception as error:  # whatever a stranger's bytes do to PIL
        with file.open("rb") as stranger:
            return f"{type(error).__name__}: starts with {stranger.read(16)!r}"


def _linked(answer: _Answer, target: Path) -> _Answer:
    """Put a row's file into its place; what is wrong with that is the row's own fault, unless the disk is full."""
    assert answer.file is not None
    try:
        _link(answer.file, target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise no_room(target.parent, answer.file.stat().st_size, target.name) from None
        return replace(answer, file=None, fault=FetchFault.UNFORESEEN, detail=f"{type(error).__name__}: {error}")
    return answer


def _check_foreseen(num_rows: int, failures: Sequence[Failure]) -> None:
    """Raise RuntimeError if so much was unforeseen that the fault is hardly the rows'."""
    found = [failure for failure in failures if failure.reason is FetchFault.UNFORESEEN]
    if len(found) > max(_FEW_UNFORESEEN, _MOST_UNFORESEEN * num_rows):
        raise RuntimeError(
            f"{len(found)} of {num_rows} rows failed for reasons that nobody foresaw; the first: {found[0].name}: {found[0].detail}"
        )


def _link(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        raise BadInput(
            f"images: {target.name!r} comes from two places of the manifest; give the archive its own `into`"
        )
    try:
        os.link(file, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(file, target)
