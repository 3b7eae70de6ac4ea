"""The training loop of one stage: plan in, trained weights out. It knows the data and the model, and nothing of Prefect."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from tinyllava_core.data.tensors.example import Pack
from tinyllava_core.data.tensors.stream import PlannedPacks, rank_packs, stream
from tinyllava_core.settings.training import Training
from tinyllava_core.settings.watch import Watch
from tinyllava_core.train.average import Averaged
from tinyllava_core.train.engines.engine import Engine, Norms
from tinyllava_core.train.engines.ranks import any_rank, rank, world_size
from tinyllava_core.train.kept.gradients import RecordGradients
from tinyllava_core.train.kept.losses import RecordLosses
from tinyllava_core.train.ledger import Ledger
from tinyllava_core.train.measure import HeldOut
from tinyllava_core.train.memory import halves
from tinyllava_core.train.moved import Moved, check_after
from tinyllava_core.train.observe import Observer
from tinyllava_core.train.passes import by_source, pack_losses
from tinyllava_core.train.planned import PlannedSteps
from tinyllava_core.train.schedule import lr_factor
from tinyllava_core.train.watchdog import Watchdog

COLLECT_EVERY = 50  # steps between two collections of garbage. Source: torchtitan's gc_freq
# A pack or half of one, whether it counts, the sources of its records, and its name in the step: number, half.
Pass = tuple[Pack, bool, np.ndarray, tuple[int, int]]


class Stopped(Exception):
    """The process was asked to end (SIGTERM); its state is saved."""


class Paused(Exception):
    """The steps that the job asked for are taken, not all of the plan; their state is saved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Everything that a step needs."""

    engine: Engine
    packs: PlannedPacks
    planned: PlannedSteps
    training: Training
    watch: Watch
    ledger: Ledger
    losses: RecordLosses
    observer: Observer | None  # rank 0's
    device: torch.device
    seed: int
    moved: Moved
    gradients: RecordGradients | None = None
    held_out: HeldOut | None = None
    averaged: Averaged | None = None
    halving: int | None = None  # the image token: cut every pack in two
    until: int | None = None  # steps to take now; None: all of the plan

    @property
    def kept(self) -> list[RecordLosses | RecordGradients]:
        """List what is kept of each record."""
        return [self.losses, self.gradients] if self.gradients else [self.losses]


def train(work: Work, first_step: int, should_stop: list[bool]) -> None:
    """Train steps `first_step` .. end of the plan. Raises Stopped after saving if `should_stop` is set meanwhile, Paused at `until`."""
    training, num_steps = work.training, len(work.packs.num_packs)
    end = min(work.until or num_steps, num_steps)
    arriving = stream(work.packs, first_step, rank(), world_size(), training.data_workers, work.device.type == "cuda")
    saved_at, soon = time.monotonic(), check_after(work.planned, num_steps)
    with Watchdog(work.watch.step_timeout_s, work.planned.describe) as dog, rubbish_in_step() as collect:
        for step in range(first_step, end):
            dog.beat(step)
            collect(step)
            started = time.monotonic()
            rates = set_rates(work.engine, training, step, num_steps)
            dealt = next(arriving)
            waited = time.monotonic() - started
            losses = run_packs(work, step, dealt)
            norms = work.engine.step()  # which updates nothing where a gradient is no number
            check_finite(work, step, float(losses.sum()), norms)
            if step == soon:
                work.moved.check()
            if work.observer:
                seconds = time.monotonic() - started
                work.observer.step_done(step, losses, rates, norms, waited, seconds)
            if work.averaged:
                work.averaged.take(step, work.engine.whole)
            if work.held_out and ((step + 1) % training.held_out_every == 0 or step + 1 == end):
                held_out = work.held_out.measure(work.engine, step, training.precision, work.device)
                if work.observer:
                    work.observer.measured(step, held_out)
            late = training.save_minutes is not None and time.monotonic() - saved_at > 60 * training.save_minutes
            stop, late = any_rank([should_stop[0], late], work.device)
            if stop or late or (step + 1) % training.save_every == 0 or step + 1 == end:
                for kept in work.kept:
                    kept.save(step + 1)  # before the state: what goes on from there has them
                work.ledger.save(work.engine, step + 1)
                saved_at = time.monotonic()
            if stop:
                work.ledger.wait()
                raise Stopped(f"asked to end; saved after step {step}")
        work.ledger.wait()
    if end < num_steps:
        raise Paused(f"{end} of {num_steps} steps are taken and saved")


@contextlib.contextmanager
def rubbish_in_step() -> Iterator[Callable[[int], None]]:
    """Collect garbage at the same steps on every rank, by what comes back, and at no other time: one that collects alone lets all
    others wait for it. What is here now stays, and is not looked at again."""

    def collect(step: int) -> None:
        if step % COLLECT_EVERY == 0:
            gc.collect()

    was_enabled = gc.isenabled()
    gc.disable()
    gc.freeze()
    try:
        yield collect
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()


def run_packs(work: Work, step: int, dealt: list[tuple[Pack, bool]]) -> Tensor:
    """Add the gradients of one rank's packs of a step -> the step's loss over all ranks, in parts by source [sources].

    The loss is a mean over the supervised tokens of the whole step, so neither packs nor ranks change it. Each pack draws its
    dropout from a seed of its own: no state of a generator is ever needed to go on, on whatever number of ranks.
    """
    total = torch.zeros(len(work.planned.sources), dtype=torch.float64, device=work.device)
    passes = cut_passes(work, step, dealt)
    for place, (pack, counts, sources, name) in enumerate(passes):
        torch.manual_seed(seed_of(work.seed, step, *name))
        losses = pack_losses(work.engine.losses, pack, work.packs.reading.vision, work.training.precision, work.device)
        if counts:
            work.losses.add(step, name[0], losses.detach(), pack)
            if work.gradients:
                work.gradients.add(step, name[0], pack)
        losses = losses / work.packs.num_supervised[step] * float(counts)
        work.engine.backward(losses.sum(), is_last=place + 1 == len(passes))
        total += by_source(losses.detach(), pack, sources, len(total))
    if dist.is_initialized():
        dist.all_reduce(total)
    return total.cpu()


def cut_passes(work: Work, step: int, dealt: list[tuple[Pack, bool]]) -> list[Pass]:
    """List what runs through the model at once: this rank's packs of a step, or their halves."""
    passes: list[Pass] = []
    for (pack, counts), (number, _) in zip(dealt, rank_packs(work.packs, step, rank(), world_size()), strict=True):
        parts = halves(pack, work.halving) if work.halving is not None else [(pack, True)]
        sources = work.planned.sources_of(step, number)
        passes += [(part, counts and whole, sources, (number, half)) for half, (part, whole) in enumerate(parts)]
    return passes


def seed_of(*numbers: int) -> int:
    """Make a seed of some numbers, far from that of any others."""
    return int.from_bytes(hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest())


def check_finite(work: Work, step: int, loss: float, norms: Norms) -> None:
    """Raise RuntimeError, naming the step's records, if its loss or gradient is not a number."""
    if not (np.isfinite(loss) and np.isfinite(norms.total)):
        raise RuntimeError(f"step {step}: loss {loss}, gradient norm {norms.total}; {work.planned.describe(step)}")


def set_rates(engine: Engine, training: Training, step: int, num_steps: int) -> dict[str, float]:
    """Set every group's learning rate for this step -> the rate of each trained part."""
    for group in engine.groups:
        group["lr"] = group["peak_lr"] * lr_factor(training, group["part"], step, num_steps)
    return {group["part"]: group["lr"] for group in engine.groups}
