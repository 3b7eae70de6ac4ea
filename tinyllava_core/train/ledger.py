"""What a training run writes down: its steps, its lives, and the state from which a killed one goes on. No tensors of its own.

A resume folder appears by one rename, so it is whole or not there; the ledger is cut back to the step it goes on from.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyllava_core.artifact import write_aside
from tinyllava_core.durable import publish
from tinyllava_core.errors import BadInput
from tinyllava_core.intact import hashes
from tinyllava_core.room import DiskFull, in_words, is_full
from tinyllava_core.train.engines.engine import Engine
from tinyllava_core.train.engines.ranks import barrier, rank

KEEP = 2  # resume folders
_SUMS = "sha256.json"  # in each: what its files are
_SHORT_WRITE = re.compile(
    "PytorchStreamWriter|inline_container|iostream|SafetensorError|OSError"
)  # what libraries say of a write that comes up short


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """One optimizer step: a line of steps.jsonl."""

    step: int
    loss: float
    lr_vision: float | None
    lr_connector: float | None
    lr_language: float | None
    grad_norm: float
    num_records: int
    num_tokens: int
    num_supervised: int
    seconds: float
    life: int


class Ledger:
    """steps.jsonl, lives.jsonl and resume/ of one training artifact. Only rank 0 writes the two files."""

    def __init__(self, out: Path) -> None:
        self.out, self.steps, self.lives = out, out / "steps.jsonl", out / "lives.jsonl"
        self.life = len(read_rows(self.lives))
        self._writer: _Writer | None = None

    def open_life(self, first_step: int, world_size: int, device: str, started_at: str) -> None:
        """Cut the steps back to those before `first_step` and note that a new life begins there."""
        rows = [row for row in read_rows(self.steps) if row["step"] < first_step]
        write_aside(self.steps, "".join(json.dumps(row) + "\n" for row in rows))
        life = {
            "life": self.life,
            "from_step": first_step,
            "started_at": started_at,
            "world_size": world_size,
            "device": device,
        }
        append_rows(self.lives, [life])

    def add(self, row: StepRow) -> None:
        """Write one step down, through to the disk's cache."""
        append_rows(self.steps, [dataclasses.asdict(row)])

    def newest(self) -> Path | None:
        """Find the newest resume folder; one that is no longer what was saved is told and taken away."""
        if rank() == 0:
            self._take_broken_away()
        barrier()
        found = sorted((self.out / "resume").glob("step-*"))
        return found[-1] if found else None

    def _take_broken_away(self) -> None:
        for folder in sorted((self.out / "resume").glob("step-*")):
            sums = folder / _SUMS
            try:
                whole = not sums.exists() or json.loads(sums.read_text()) == hashes(folder, _SUMS)
            except ValueError:
                whole = False
            if not whole:
                print(
                    f"warning: {folder} is not what was saved there (another sha256): taken away",
                    file=sys.stderr,
                    flush=True,
                )
                shutil.rmtree(folder)

    def save(self, engine: Engine, next_step: int) -> None:
        """Save everything from which step `next_step` can go on; it is written while training goes on.

        Raises BadInput where the disk does not take it, at once or at the next call: the states before stay whole.
        """
        self.wait()
        home = self.out / "resume"
        final, aside = home / f"step-{next_step:08d}", home / ".partial"
        if rank() == 0:
            with _told(final):
                shutil.rmtree(aside, ignore_errors=True)
                aside.mkdir(parents=True)
        barrier()
        with _told(final):
            write = engine.save(aside)
        self._writer = _Writer(final, aside, write)
        self._writer.start()

    def wait(self) -> None:
        """Wait until what was saved last is on the disk. Raises BadInput if it could not be written."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.join()
            if writer.fault is not None:
                raise writer.fault

    def load(self, engine: Engine, folder: Path) -> int:
        """Go back to a resume folder -> the step to go on with."""
        engine.load(folder)
        return int(folder.name.removeprefix("step-"))


class _Writer(threading.Thread):
    """Writes this rank's part of a resume folder aside; rank 0 renames it and keeps the last few. What goes wrong is kept in `fault`."""

    def __init__(self, final: Path, aside: Path, write: Callable[[], None]) -> None:
        super().__init__(name="resume-writer")
        self._final, self._aside, self._write = final, aside, write
        self.fault: Exception | None = None

    def run(self) -> None:
        """Write, rename, let older ones go."""
        try:
            with _told(self._final):
                self._write()
                if rank() != 0:
                    return
                (self._aside / _SUMS).write_text(json.dumps(hashes(self._aside)))
                shutil.rmtree(self._final, ignore_errors=True)
                publish(self._aside, self._final)
                for old in sorted(self._final.parent.glob("step-*"))[:-KEEP]:
                    shutil.rmtree(old)
        except Exception as fault:  # `wait` raises it where the training is
            self.fault = fault


@contextlib.contextmanager
def _told(final: Path) -> Iterator[None]:
    """Turn what a disk says into one clear error."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _SHORT_WRITE.search(str(error)):
            raise
        free = in_words(shutil.disk_usage(final.parent.parent).free)
        shutil.rmtree(final.parent / ".partial", ignore_errors=True)
        whole = sorted(final.parent.glob("step-*"))
        last = f"the last whole state is {whole[-1].name}" if whole else "no state was saved before"
        raise (DiskFull if is_full(error) else BadInput)(
            f"{final}: the training state cannot be written ({' '.join(str(error).split())[:200]}); {free} are free; {last}; "
            "make room or make the folder writable, and give the same command again: it goes on from there"
        ) from error


def append_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append lines of JSON in one write."""
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))
        file.flush()
        os.fsync(file.fileno())


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read lines of JSON; a torn last line, left by a kill, is not there."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
