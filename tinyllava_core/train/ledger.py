"""What a training run writes down: its steps, its lives, and the state from which a killed one goes on. No tensors of its own.

A resume folder appears by one rename, so it is whole or not there; the ledger is cut back to the step it goes on from.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tinyllava_core.artifact import write_aside
from tinyllava_core.train.engine import Engine, rank

KEEP = 2  # resume folders


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
        """Find the newest resume folder."""
        found = sorted((self.out / "resume").glob("step-*"))
        return found[-1] if found else None

    def save(self, engine: Engine, next_step: int) -> None:
        """Save everything from which step `next_step` can go on, aside, then rename; keep the last few."""
        home = self.out / "resume"
        final, aside = home / f"step-{next_step:08d}", home / ".partial"
        if rank() == 0:
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
        barrier()
        engine.save(aside)
        torch.save(random_state(), aside / f"random-{rank()}.pt")
        barrier()
        if rank() == 0:
            shutil.rmtree(final, ignore_errors=True)
            aside.rename(final)
            for old in sorted(home.glob("step-*"))[:-KEEP]:
                shutil.rmtree(old)
        barrier()

    def load(self, engine: Engine, folder: Path) -> int:
        """Go back to a resume folder -> the step to go on with."""
        engine.load(folder)
        mine = folder / f"random-{rank()}.pt"
        if mine.is_file():  # another number of ranks: nothing random is used in training, so nothing is lost
            set_random_state(torch.load(mine, weights_only=False))
        return int(folder.name.removeprefix("step-"))


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


def random_state() -> dict[str, Any]:
    """Collect the state of every random generator in use."""
    return {"python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state()}


def set_random_state(state: dict[str, Any]) -> None:
    """Put the random generators back."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])


def barrier() -> None:
    """Wait for all ranks; alone, go on."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
