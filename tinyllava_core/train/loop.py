"""The training loop of one stage: plan in, trained weights out. It knows the data and the model, and nothing of Prefect."""

from __future__ import annotations

import time

import torch
import torch.distributed as dist
from torch import Tensor

from tinyllava_core.data.example import Pack, normalise
from tinyllava_core.data.stream import PlannedPacks, stream
from tinyllava_core.job import Progress, tell
from tinyllava_core.parts import Vision
from tinyllava_core.settings.training import PART_NAMES, Training
from tinyllava_core.train.engine import Engine, rank, world_size
from tinyllava_core.train.ledger import Ledger, StepRow
from tinyllava_core.train.schedule import lr_factor


class Stopped(Exception):
    """The process was asked to end (SIGTERM); its state is saved."""


def train(
    engine: Engine,
    packs: PlannedPacks,
    training: Training,
    ledger: Ledger,
    first_step: int,
    device: torch.device,
    should_stop: list[bool],
) -> None:
    """Train steps `first_step` .. end of the plan. Raises Stopped after saving if `should_stop` is set meanwhile."""
    num_steps = len(packs.num_packs)
    arriving = stream(packs, first_step, rank(), world_size(), training.data_workers)
    for step in range(first_step, num_steps):
        started = time.monotonic()
        rates = set_rates(engine, lr_factor(training, step, num_steps))
        loss = run_packs(engine, packs, step, next(arriving), training, device)
        grad_norm = engine.step()
        if not (torch.isfinite(loss) and grad_norm == grad_norm):
            raise RuntimeError(
                f"step {step}: loss {float(loss)}, gradient norm {grad_norm}; its records: SELECT record_id FROM plans WHERE step = {step}"
            )
        if rank() == 0:
            row = StepRow(
                step=step,
                loss=float(loss),
                **{f"lr_{part}": rates.get(part) for part in PART_NAMES},
                grad_norm=grad_norm,
                num_records=packs.num_records[step],
                num_tokens=packs.num_tokens[step],
                num_supervised=packs.num_supervised[step],
                seconds=round(time.monotonic() - started, 4),
                life=ledger.life,
            )
            ledger.add(row)
            tell(Progress(done=step + 1, total=num_steps, unit="steps", note=f"loss {row.loss:.3f}"))
        stop = any_rank(should_stop[0], device)
        if (step + 1) % training.save_every == 0 or stop or step + 1 == num_steps:
            ledger.save(engine, step + 1)
        if stop:
            raise Stopped(f"asked to end; saved after step {step}")


def run_packs(
    engine: Engine,
    packs: PlannedPacks,
    step: int,
    dealt: list[tuple[Pack, bool]],
    training: Training,
    device: torch.device,
) -> Tensor:
    """Add the gradients of one rank's packs of a step -> the step's loss over all ranks, a mean over its supervised tokens."""
    total = torch.zeros((), dtype=torch.float64)
    for number, (pack, counts) in enumerate(dealt):
        losses = pack_losses(engine, pack, packs.reading.vision, training, device)
        loss = losses.sum() / packs.num_supervised[step] * float(counts)
        engine.backward(loss, is_last=number + 1 == len(dealt))
        total += loss.detach().double().cpu()
    if dist.is_initialized():
        total = total.to(device)
        dist.all_reduce(total)
    return total.cpu()


def pack_losses(engine: Engine, pack: Pack, vision: Vision, training: Training, device: torch.device) -> Tensor:
    """Run one pack -> the loss of each of its supervised tokens [S]."""
    pixels = normalise(pack.pixels_N3HW.to(device), vision)
    with torch.autocast(device.type, torch.bfloat16, enabled=training.precision == "bf16"):
        return engine.losses(
            pack.ids_T.to(device),
            pack.position_T.to(device),
            pack.record_T.to(device),
            pixels,
            pack.labels_T.to(device),
        )


def set_rates(engine: Engine, factor: float) -> dict[str, float]:
    """Set every group's learning rate for this step -> the rate of each trained part."""
    for group in engine.groups:
        group["lr"] = group["peak_lr"] * factor
    return {group["part"]: group["lr"] for group in engine.groups}


def any_rank(flag: bool, device: torch.device) -> bool:
    """Tell whether any rank says so, so that all of them do the same."""
    if not dist.is_initialized():
        return flag
    told = torch.tensor(float(flag), device=device)
    dist.all_reduce(told)
    return bool(told > 0)
