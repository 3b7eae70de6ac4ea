"""One pass of img2dataset over some rows of a URL table, in a folder of its own. It judges no row.

A shard (of img2dataset's work, not of ours) is finished if and only if it has statistics: neither the exit code nor any
other file says so. A pass that was killed goes on with the unfinished ones.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tinyllava_core.artifact import write_aside
from tinyllava_core.data.web.patience import Patience
from tinyllava_core.process_tree import run_watched

ROWS_PER_SHARD = 1000  # a power of ten, for img2dataset's keys
_THREADS = 32  # per process


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What img2dataset says about one row."""

    file: Path | None  # None: it failed
    error: str


class UrlPass:
    """One pass over (place in the table, URL) pairs."""

    def __init__(self, folder: Path, rows: Sequence[tuple[int, str]]) -> None:
        self._folder, self._rows = folder, rows
        self._output = folder / "img2dataset"
        self.notes = folder / "notes"
        self._num_shards = math.ceil(len(rows) / ROWS_PER_SHARD)

    @property
    def finished(self) -> bool:
        """Tell whether every shard has its statistics."""
        return not self._missing()

    def run(
        self,
        distributor: str,
        patience: Patience,
        on_rows: Callable[[int], None] | None,
        asked: Collection[str] = (),
    ) -> None:
        """Make every shard that is not finished. Raises Stalled, or RuntimeError if img2dataset gave up."""
        if self.finished:
            return
        self._output.mkdir(parents=True, exist_ok=True)
        self.notes.mkdir(exist_ok=True)
        self._write_table()
        arguments = self._folder / "arguments.json"
        write_aside(arguments, json.dumps(self._arguments(distributor, patience) | {"asked": sorted(asked)}, indent=1))
        log = self._folder / "log.txt"
        run_watched(
            [sys.executable, "-P", "-m", "tinyllava_core.data.download.table.process", str(arguments)],
            environment={
                "NO_ALBUMENTATIONS_UPDATE": "1",
                "WANDB_MODE": "disabled",
                # or Spark would start its workers with whatever python3 is on the path
                "PYSPARK_PYTHON": os.environ.get("PYSPARK_PYTHON", sys.executable),
            },
            log=log,
            progress=_Watch(self._output, self.notes, on_rows),
            stall_s=patience.stall_s,
        )
        if missing := self._missing():
            raise RuntimeError(
                f"img2dataset ended with {len(missing)} of {self._num_shards} shards unfinished; run it again to go on. Its "
                f"last words: {_last_words(log)}"
            )

    def told(self) -> dict[int, Told]:
        """Give what img2dataset says about each row, by its place in the table; it may leave a row out."""
        found = {}
        for shard in range(self._num_shards):
            table = pq.read_table(
                self._output / f"{shard:05d}.parquet", columns=["row", "key", "status", "error_message"]
            )
            for row in table.to_pylist():
                came = row["status"] == "success"
                # .jpg is its one suffix, whatever is inside
                file = self._output / f"{shard:05d}" / f"{row['key']}.jpg" if came else None
                error = "" if came else " ".join((row["error_message"] or row["status"] or "").split())[:300]
                found[row["row"]] = Told(file=file, error=error)
        return found

    def _missing(self) -> list[int]:
        return [shard for shard in range(self._num_shards) if not (self._output / f"{shard:05d}_stats.json").exists()]

    def _write_table(self) -> None:
        table = pa.table(
            {
                "url": pa.array([url for _, url in self._rows], pa.string()),
                "row": pa.array([place for place, _ in self._rows], pa.int64()),
            }
        )
        pq.write_table(table, self._folder / "rows.parquet")

    def _arguments(self, distributor: str, patience: Patience) -> dict[str, object]:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return {
            "patience": dataclasses.asdict(patience),
            "notes": str(self.notes),
            "img2dataset": {
                "url_list": str(self._folder / "rows.parquet"),
                "input_format": "parquet",
                "url_col": "url",
                "save_additional_columns": ["row"],
                "output_folder": str(self._output),
                "output_format": "files",
                "number_sample_per_shard": ROWS_PER_SHARD,
                "incremental_mode": "incremental",
                "resize_mode": "no",
                "skip_reencode": True,
                "disable_all_reencoding": True,  # the bytes as they came; without it 16-bit PNGs come out white
                "extract_exif": False,
                "compute_hash": None,
                "distributor": distributor,
                "processes_count": min(cores, self._num_shards),
                "thread_count": _THREADS,
                "timeout": patience.image_timeout_s,
                "retries": 0,  # its own come at once, and for a 404 too: ours are further passes
                "enable_wandb": False,
            },
        }


class _Watch:
    """What can be seen of img2dataset from outside: finished shards, and notes of what its workers asked for."""

    def __init__(self, output: Path, notes: Path, on_rows: Callable[[int], None] | None) -> None:
        self._output, self._notes, self._on_rows = output, notes, on_rows
        self._finished: dict[str, int] = {}  # shard -> rows
        self._read: dict[str, tuple[int, int]] = {}  # file of notes -> bytes and lines seen so far

    def __call__(self) -> Hashable:
        """Tell the number of rows done; give a value that changes as long as anything moves."""
        for entry in os.scandir(self._output):
            shard = entry.name[:5]
            if entry.name.endswith("_stats.json") and shard not in self._finished:
                try:
                    self._finished[shard] = json.loads(Path(entry.path).read_text())["count"]
                except ValueError:
                    continue  # being written
        for entry in os.scandir(self._notes):
            at, lines = self._read.get(entry.name, (0, 0))
            if (size := entry.stat().st_size) > at:
                with Path(entry.path).open("rb") as file:
                    file.seek(at)
                    new = file.read(size - at)
                self._read[entry.name] = (at + len(new), lines + new.count(b"\n"))
        asked: dict[str, int] = {}  # a shard that was killed and begun anew has several files: the longest counts
        for name, (_, lines) in self._read.items():
            if name[:5] not in self._finished:
                asked[name[:5]] = max(asked.get(name[:5], 0), lines)
        if self._on_rows:
            self._on_rows(sum(self._finished.values()) + sum(asked.values()))
        return len(self._finished), sum(at for at, _ in self._read.values())


def _last_words(log: Path) -> str:
    text = log.read_text(errors="replace") if log.exists() else ""
    return " | ".join(text.strip().splitlines()[-3:])
