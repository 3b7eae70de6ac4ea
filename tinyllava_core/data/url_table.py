"""Fetch a table of image URLs with img2dataset: as a supervised process group, judged by its files, row by row.

Images keep their bytes (nothing is decoded or re-encoded here); a row that fails is kept under a reason. It does not
judge the images: `inspect` does.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tinyllava_core.data.patience import Patience
from tinyllava_core.errors import BadInput
from tinyllava_core.process_tree import run_watched, without_back_port

ROWS_PER_SHARD = 1000  # of img2dataset's work, not of ours; a power of ten, for its keys
_THREADS = 32  # per process
FAILURE_SCHEMA = pa.schema(
    [("url", pa.string()), ("name", pa.string()), ("reason", pa.string()), ("detail", pa.string())]
)


class FetchFault(StrEnum):
    """Why a row of a URL table did not become a file."""

    HTTP_404 = "http_404"
    HTTP_429 = "http_429"
    HTTP_4XX = "http_4xx"
    HTTP_500 = "http_500"
    HTTP_5XX = "http_5xx"
    TIMEOUT = "timeout"
    CONNECTION = "connection"  # refused, reset, closed without an answer, no such host
    TRUNCATED = "truncated"  # the body was shorter than its Content-Length
    DISALLOWED = "disallowed"  # the server's X-Robots-Tag opts out
    NOT_AN_IMAGE = "not_an_image"  # something came, but no picture (a web page, nothing at all)
    BAD_URL = "bad_url"  # none, or neither http nor https
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlRow:
    """One image to fetch."""

    name: str  # path under the image root
    url: str  # absolute
    written: str  # the URL as the manifest's world writes it, for the failures


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One row that did not become a file: a row of failures.parquet."""

    url: str
    name: str
    reason: FetchFault
    detail: str


def fetch_images(
    rows: Sequence[UrlRow],
    images: Path,
    work: Path,
    *,
    patience: Patience | None = None,
    on_rows: Callable[[int], None] | None = None,
) -> list[Failure]:
    """Fetch each row's image to `images/<name>` and give the rows that failed, in the table's order.

    `work` keeps what was fetched, so that a killed call goes on where it was; the images are hard links into it, so it
    may be removed after. Raises Stalled if nothing moves for `patience.stall_s`, RuntimeError if img2dataset gave up.
    """
    patience = patience or Patience()
    good, failures = _split(rows)
    if good:
        output = _work_folder(work, good)
        num_shards = math.ceil(len(good) / ROWS_PER_SHARD)
        missing = _missing(output, num_shards)
        if missing:
            _run(work, output, num_shards, patience, on_rows)
            missing = _missing(output, num_shards)
        if missing:
            raise RuntimeError(
                f"img2dataset ended with {len(missing)} of {num_shards} shards unfinished; run it again to go on. Its last words: "
                f"{_last_words(work / 'log.txt')}"
            )
        failures += _take(good, output, num_shards, images)
    order = {row.name: place for place, row in enumerate(rows)}
    return sorted(failures, key=lambda failure: order[failure.name])


def write_failures(failures: Sequence[Failure], path: Path) -> None:
    """Write failures.parquet."""
    rows = [{"url": f.url, "name": f.name, "reason": f.reason.value, "detail": f.detail} for f in failures]
    pq.write_table(pa.Table.from_pylist(rows, FAILURE_SCHEMA), path)


def fault_of(message: str) -> FetchFault:
    """Name the fault behind an error text of img2dataset, which are urllib's and the libraries' below it."""
    if match := re.search(r"HTTP Error (\d)(\d\d)", message):
        known = {"404": FetchFault.HTTP_404, "429": FetchFault.HTTP_429, "500": FetchFault.HTTP_500}
        other = FetchFault.HTTP_4XX if match[1] == "4" else FetchFault.HTTP_5XX if match[1] == "5" else FetchFault.OTHER
        return known.get(match[1] + match[2], other)
    for pattern, fault in _PATTERNS:
        if re.search(pattern, message, re.IGNORECASE):
            return fault
    return FetchFault.OTHER


_PATTERNS = (
    (r"timed out", FetchFault.TIMEOUT),
    (r"IncompleteRead", FetchFault.TRUNCATED),
    (r"X-Robots-Tag", FetchFault.DISALLOWED),
    (r"unknown url type|no host given|invalid url|can't contain control", FetchFault.BAD_URL),
    (r"urlopen error|Remote end closed|Connection (refused|reset|aborted)|Broken pipe", FetchFault.CONNECTION),
)


def _split(rows: Sequence[UrlRow]) -> tuple[list[UrlRow], list[Failure]]:
    """Part the rows that img2dataset may be given from those with no fetchable URL (urllib would open file:// too)."""
    good, bad = [], []
    for row in rows:
        if row.url and urlsplit(row.url).scheme in ("http", "https"):
            good.append(row)
        else:
            bad.append(
                Failure(url=row.written, name=row.name, reason=FetchFault.BAD_URL, detail="expected an http(s) URL")
            )
    return good, bad


def _work_folder(work: Path, rows: Sequence[UrlRow]) -> Path:
    """Make `work` ready for these rows: what is there stays if it was begun for the same ones, else it goes."""
    digest = hashlib.sha256("\n".join(f"{row.name}\t{row.written}" for row in rows).encode()).hexdigest()
    mark = work / "rows.sha256"
    if not mark.exists() or mark.read_text() != digest:
        shutil.rmtree(work, ignore_errors=True)
    output = work / "img2dataset"
    output.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {
            "url": pa.array([row.url for row in rows], pa.string()),
            "row": pa.array(range(len(rows)), pa.int64()),
        }
    )
    pq.write_table(table, work / "rows.parquet")
    mark.write_text(digest)
    return output


def _run(work: Path, output: Path, num_shards: int, patience: Patience, on_rows: Callable[[int], None] | None) -> None:
    processes = min(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, num_shards
    )
    arguments = {
        "url_list": str(work / "rows.parquet"),
        "input_format": "parquet",
        "url_col": "url",
        "save_additional_columns": ["row"],
        "output_folder": str(output),
        "output_format": "files",
        "number_sample_per_shard": ROWS_PER_SHARD,
        "incremental_mode": "incremental",
        "resize_mode": "no",
        "skip_reencode": True,
        "disable_all_reencoding": True,  # the bytes as they came; without it 16-bit PNGs come out white
        "extract_exif": False,
        "compute_hash": None,
        "processes_count": processes,
        "thread_count": _THREADS,
        "timeout": patience.image_timeout_s,
        "retries": patience.image_retries,
        "enable_wandb": False,
    }
    (work / "arguments.json").write_text(json.dumps(arguments, indent=1))
    loopback = ",".join(
        filter(None, (os.environ.get("no_proxy", os.environ.get("NO_PROXY")), "127.0.0.1", "localhost"))
    )
    run_watched(
        [sys.executable, "-P", "-m", "tinyllava_core.data.url_process", str(work / "arguments.json")],
        environment={
            "NO_ALBUMENTATIONS_UPDATE": "1",
            "WANDB_MODE": "disabled",
            "PYTHONPATH": without_back_port(os.environ.get("PYTHONPATH", "")),
            "no_proxy": loopback,
            "NO_PROXY": loopback,
        },
        log=work / "log.txt",
        progress=_Watch(output, on_rows),
        stall_s=patience.stall_s,
    )


class _Watch:
    """What can be seen of img2dataset from outside: finished shards, and what grows in the others."""

    def __init__(self, output: Path, on_rows: Callable[[int], None] | None) -> None:
        self._output, self._on_rows = output, on_rows
        self._finished: dict[str, int] = {}  # shard -> rows

    def __call__(self) -> Hashable:
        """Tell the number of rows done; give a value that changes as long as anything moves."""
        files = written = 0
        for entry in os.scandir(self._output):
            shard = entry.name[:5]
            if entry.name.endswith("_stats.json") and shard not in self._finished:
                try:
                    self._finished[shard] = json.loads(Path(entry.path).read_text())["count"]
                except ValueError:
                    continue  # being written
        for entry in os.scandir(self._output):
            if entry.name[:5] in self._finished:
                continue
            if entry.is_dir() and entry.name.isdigit():
                files += sum(1 for file in os.scandir(entry.path) if file.name.endswith(".jpg"))
            elif entry.name.endswith(".parquet"):
                written += entry.stat().st_size
        if self._on_rows:
            self._on_rows(sum(self._finished.values()) + files)
        return len(self._finished), files, written


def _missing(output: Path, num_shards: int) -> list[int]:
    """List the shards without statistics, the only sign that img2dataset finished one."""
    return [shard for shard in range(num_shards) if not (output / f"{shard:05d}_stats.json").exists()]


def _take(rows: Sequence[UrlRow], output: Path, num_shards: int, images: Path) -> Iterator[Failure]:
    """Link what came to its name under `images`; give a failure for each other row."""
    for shard in range(num_shards):
        table = pq.read_table(output / f"{shard:05d}.parquet", columns=["row", "key", "status", "error_message"])
        told = {answer["row"]: answer for answer in table.to_pylist()}
        for number in range(shard * ROWS_PER_SHARD, min((shard + 1) * ROWS_PER_SHARD, len(rows))):
            row, answer = rows[number], told.get(number)
            if answer is None:
                fault, detail = FetchFault.OTHER, "img2dataset left no word about this row"
            elif answer["status"] != "success":
                detail = " ".join((answer["error_message"] or answer["status"] or "").split())[:300]
                fault = fault_of(detail)
            else:
                file = output / f"{shard:05d}" / f"{answer['key']}.jpg"  # its one suffix, whatever is inside
                if not (detail := _not_an_image(file)):
                    _link(file, images / row.name)
                    continue
                fault = FetchFault.NOT_AN_IMAGE
            yield Failure(url=row.written, name=row.name, reason=fault, detail=detail)


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


def _last_words(log: Path) -> str:
    text = log.read_text(errors="replace") if log.exists() else ""
    return " | ".join(text.strip().splitlines()[-3:])
