"""The loss on records that were held out of training, now and then, and which weights had the lowest. It trains nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tinyllava_core.artifact import write_aside
from tinyllava_core.data.tensors.stream import PlannedPacks, Reading, rank_packs, stream
from tinyllava_core.job import TrainJob
from tinyllava_core.train.engines.engine import Engine
from tinyllava_core.train.engines.ranks import rank, world_size
from tinyllava_core.train.ledger import append_rows, read_rows
from tinyllava_core.train.passes import by_source, pack_losses
from tinyllava_core.train.planned import PlannedSteps


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """The held-out records of a plan, and what was measured on them: held_out.jsonl."""

    packs: PlannedPacks
    planned: PlannedSteps
    rows: Path
    model: nn.Module  # that is measured
    keep: Callable[[], None]  # every rank calls it when the weights are the best so far

    @classmethod
    def of(cls, job: TrainJob, model: nn.Module, reading: Reading, keep: Callable[[], None]) -> HeldOut | None:
        """Find the held-out records of a job's plan; None if it has none."""
        home = job.plan / "held_out"
        if not home.is_dir():
            return None
        packs = PlannedPacks(job.shards, home, reading, job.features)
        return cls(packs=packs, planned=PlannedSteps(home), rows=job.out / "held_out.jsonl", model=model, keep=keep)

    def cut(self, first_step: int) -> None:
        """Forget what was measured at `first_step` and later: a killed life's."""
        kept = [row for row in read_rows(self.rows) if row["step"] < first_step]
        write_aside(self.rows, "".join(json.dumps(row) + "\n" for row in kept))

    def measure(self, engine: Engine, step: int, precision: str, device: torch.device) -> float:
        """Measure after optimizer step `step`, on all ranks -> the mean loss over the supervised tokens; the best weights are kept."""
        total = torch.zeros(len(self.planned.sources), dtype=torch.float64, device=device)
        self.model.eval()  # no dropout
        for number, dealt in enumerate(stream(self.packs, 0, rank(), world_size(), workers=0)):
            places = rank_packs(self.packs, number, rank(), world_size())
            for (pack, counts), (place, _) in zip(dealt, places, strict=True):
                with torch.no_grad():
                    losses = pack_losses(engine.measure, pack, self.packs.reading.vision, precision, device)
                sources = self.planned.sources_of(number, place)
                total += by_source(losses, pack, sources, len(total)) * counts
        self.model.train()
        if dist.is_initialized():
            dist.all_reduce(total)
        return self._note(step, total.cpu())

    def _note(self, step: int, total: Tensor) -> float:
        counts = [
            sum(column)
            for column in zip(*map(self.planned.supervised_by_source, range(len(self.packs.num_packs))), strict=True)
        ]
        loss = float(total.sum()) / sum(counts)
        best = min((row["loss"] for row in read_rows(self.rows)), default=float("inf"))
        if dist.is_initialized():
            dist.barrier()  # every rank has read before one writes
        if rank() == 0:
            means = {
                name: part / count
                for name, part, count in zip(self.planned.sources, total.tolist(), counts, strict=True)
                if count
            }
            append_rows(self.rows, [{"step": step, "loss": loss, "loss_by_source": means, "is_best": loss < best}])
        if loss < best:
            self.keep()
        return loss
