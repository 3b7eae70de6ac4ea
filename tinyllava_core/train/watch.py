"""What a training tells while it runs: metrics.jsonl, TensorBoard files, other loggers by name. It changes no number.

steps.jsonl (train/ledger.py) is the record of what was done; this is for people who look at curves.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, pstdev
from typing import Protocol

from tensorboardX import SummaryWriter

from tinyllava_core.artifact import write_aside
from tinyllava_core.boards import Board
from tinyllava_core.job import TrainJob
from tinyllava_core.workers import cannot_share

_MEMORY = 100  # steps that a spike is measured against
_ENOUGH = 20  # steps before which nothing is called a spike


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """One optimizer step as curves show it: a line of metrics.jsonl."""

    step: int
    loss: float  # mean over the step's supervised tokens
    loss_by_source: Mapping[str, float]  # the same over each source's tokens
    lr: Mapping[str, float]  # of each trained part
    grad_norm: float
    grad_norm_by_part: Mapping[str, float]  # before clipping
    seconds: float
    samples_per_s: float
    tokens_per_s: float
    data_wait_share: float  # part of the step's time in which rank 0 waited for its packs
    mfu: float | None  # model FLOP utilisation; None where the device's peak is not known
    peak_memory_bytes: int | None  # of rank 0's GPU since the start; None on a CPU

    def flat(self) -> dict[str, float]:
        """Give every number under a name of its own: loss/by_source/coco, lr/language, ..."""
        found: dict[str, float] = {}
        for name, value in dataclasses.asdict(self).items():
            if isinstance(value, Mapping):
                head, _, tail = name.partition("_by_")
                found |= {f"{head}/{f'by_{tail}/' if tail else ''}{key}": number for key, number in value.items()}
            elif value is not None and name != "step":
                found[name] = float(value)
        return found


class Logger(Protocol):
    """A place for metrics besides metrics.jsonl."""

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Take one step's numbers."""

    def close(self) -> None:
        """Write what is still held."""


class TensorBoard:
    """Event files for `tensorboard --logdir`."""

    def __init__(self, folder: Path) -> None:
        self._writer = SummaryWriter(str(folder), flush_secs=30)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Add one point to each curve."""
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()


@dataclass(slots=True)
class Curves:
    """metrics.jsonl and every logger of one life of a training. Only rank 0 has one."""

    out: Path
    loggers: list[Logger] = field(default_factory=list)

    @classmethod
    def open(cls, job: TrainJob, first_step: int) -> Curves:
        """Cut metrics.jsonl back to the steps before `first_step`, as the ledger does, and open the loggers."""
        out = job.out
        file = out / "metrics.jsonl"
        kept = [line for line in _lines(file) if json.loads(line)["step"] < first_step]
        write_aside(file, "".join(f"{line}\n" for line in kept))
        loggers: list[Logger] = []
        if why := cannot_share(num_files=0, size_bytes=0):  # its writer queues under a lock of several processes
            told = f"note: {why}: TensorBoard's files are not written; metrics.jsonl has the same numbers"
            print(told, file=sys.stderr, flush=True)
        else:
            loggers.append(TensorBoard(out / "tensorboard"))
        of = out.name.strip(".").removesuffix(".partial")  # the artifact's fingerprint
        for board in job.recipe.watch.loggers:
            loggers.append(Board(board, out / board, job.recipe, job.stage, of))
        return cls(out, loggers)

    def add(self, metrics: Metrics) -> None:
        """Write one step everywhere."""
        with (self.out / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(dataclasses.asdict(metrics)) + "\n")
        for logger in self.loggers:
            logger.log(metrics.step, metrics.flat())

    def further(self, step: int, numbers: Mapping[str, float]) -> None:
        """Give the loggers numbers that not every step has; they have a file of their own."""
        for logger in self.loggers:
            logger.log(step, numbers)

    def close(self) -> None:
        """Close the loggers."""
        for logger in self.loggers:
            logger.close()


class Spikes:
    """Tells a step whose loss stands far above the last ones."""

    def __init__(self, deviations: float | None) -> None:
        self._deviations = deviations
        self._losses: deque[float] = deque(maxlen=_MEMORY)

    def seen(self, loss: float) -> str | None:
        """Take a step's loss; say how far off it is if that is too far, None otherwise. A spike is not remembered."""
        if self._deviations is not None and len(self._losses) >= _ENOUGH:
            mean, deviation = fmean(self._losses), pstdev(self._losses)
            far = (loss - mean) / deviation if deviation else math.inf * (loss > mean)
            if far > self._deviations:
                return f"loss {loss:.4g} is {far:.1f} standard deviations above the mean {mean:.4g} of the last {len(self._losses)} steps"
        self._losses.append(loss)
        return None


def _lines(path: Path) -> list[str]:
    """Read whole lines; a torn last one, left by a kill, is not there."""
    return path.read_text(encoding="utf-8").split("\n")[:-1] if path.is_file() else []
