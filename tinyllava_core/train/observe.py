"""What rank 0 does with each finished step: the ledger's row, the curves, the progress line, a word about spikes. It trains nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import torch
from torch import Tensor

from tinyllava_core.data.tensors.stream import PlannedPacks
from tinyllava_core.job import Progress, tell
from tinyllava_core.settings.training import PART_NAMES
from tinyllava_core.settings.watch import Watch
from tinyllava_core.train.engines.engine import Norms
from tinyllava_core.train.engines.ranks import world_size
from tinyllava_core.train.flops import Cost, peak
from tinyllava_core.train.ledger import Ledger, StepRow
from tinyllava_core.train.planned import PlannedSteps
from tinyllava_core.train.watch import Curves, Metrics, Spikes


class Observer:
    """Writes down every step of one life of a training."""

    def __init__(
        self,
        packs: PlannedPacks,
        planned: PlannedSteps,
        ledger: Ledger,
        curves: Curves,
        watch: Watch,
        cost: Cost,
        device: torch.device,
    ) -> None:
        self._packs, self._planned, self._ledger, self._curves = packs, planned, ledger, curves
        self._spikes, self._stop_on_spike, self._cost = Spikes(watch.spike_deviations), watch.stop_on_spike, cost
        self._device, self._peak = device, peak(device)

    def step_done(
        self, step: int, losses: Tensor, rates: Mapping[str, float], norms: Norms, waited_s: float, seconds: float
    ) -> None:
        """Take one step's numbers; `losses`: the step's loss in parts by source. Raises RuntimeError on a spike if asked to."""
        loss = float(losses.sum())
        row = StepRow(
            step=step,
            loss=loss,
            **{f"lr_{part}": rates.get(part) for part in PART_NAMES},
            grad_norm=norms.total,
            num_records=self._packs.num_records[step],
            num_tokens=self._packs.num_tokens[step],
            num_supervised=self._packs.num_supervised[step],
            seconds=round(seconds, 4),
            life=self._ledger.life,
        )
        self._ledger.add(row)
        self._curves.add(self._metrics(row, losses, rates, norms, waited_s))
        note = f"loss {loss:.3f}, {row.num_records / max(seconds, 1e-9):,.1f} records/s"
        tell(Progress(done=step + 1, total=len(self._packs.num_packs), unit="steps", note=note))
        if spike := self._spikes.seen(loss):
            told = f"step {step}: {spike}; {self._planned.describe(step)}"
            if self._stop_on_spike:
                raise RuntimeError(f"{told}; watch.stop_on_spike is set")
            print(told, file=sys.stderr, flush=True)

    def measured(self, step: int, loss: float) -> None:
        """Take the loss on the held-out records."""
        self._curves.further(step, {"held_out_loss": loss})

    def _metrics(
        self, row: StepRow, losses: Tensor, rates: Mapping[str, float], norms: Norms, waited_s: float
    ) -> Metrics:
        supervised = self._planned.supervised_by_source(row.step)
        means = {
            name: float(part) * row.num_supervised / count
            for name, part, count in zip(self._planned.sources, losses.tolist(), supervised, strict=True)
            if count
        }
        work = self._cost.of(
            row.num_tokens, self._planned.squares(row.step), row.num_supervised, self._planned.num_tiles(row.step)
        )
        seconds = max(row.seconds, 1e-9)
        return Metrics(
            step=row.step,
            loss=row.loss,
            loss_by_source=means,
            lr=rates,
            grad_norm=row.grad_norm,
            grad_norm_by_part=norms.by_part,
            seconds=row.seconds,
            samples_per_s=row.num_records / seconds,
            tokens_per_s=row.num_tokens / seconds,
            data_wait_share=min(1.0, waited_s / seconds),
            mfu=None if self._peak is None else work / seconds / (self._peak * world_size()),
            peak_memory_bytes=torch.cuda.max_memory_allocated(self._device) if self._device.type == "cuda" else None,
        )
