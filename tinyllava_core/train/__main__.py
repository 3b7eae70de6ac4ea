"""`python -m tinyllava_core.train JOB.yaml`: train one stage on this process's rank. Started by tasks/running/launch.py, or by hand.

Ends with 0 and a result, with 2 and one line for a fault of the user's, with 143 after SIGTERM (state saved).
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from transformers.utils import logging as transformers_logging

from tinyllava_core.artifact import file_sha256
from tinyllava_core.data.tensors.stream import PlannedPacks, Reading, lost_workers_told
from tinyllava_core.errors import BadInput
from tinyllava_core.job import TrainJob, write_result
from tinyllava_core.model import checkpoint, lora, quantize, trainable
from tinyllava_core.model.assemble import assemble, pin
from tinyllava_core.model.attention import name_of
from tinyllava_core.model.device import use_gpu
from tinyllava_core.model.grow import make_room
from tinyllava_core.model.tinyllava import TinyLlava
from tinyllava_core.parts import language_row, prompt_of, tokenizer_folder
from tinyllava_core.recipe import Recipe
from tinyllava_core.results import TrainResult
from tinyllava_core.room import told
from tinyllava_core.settings.launch import Launch
from tinyllava_core.settings.training import Training
from tinyllava_core.tokenizer import load_tokenizer
from tinyllava_core.train import flops, memory
from tinyllava_core.train.average import Averaged
from tinyllava_core.train.compiled import compile_blocks
from tinyllava_core.train.engines.chosen import engine_and_gradients
from tinyllava_core.train.engines.engine import Engine
from tinyllava_core.train.engines.ranks import barrier, rank, start_ranks, world_size
from tinyllava_core.train.frozen import Frozen, worth_halving
from tinyllava_core.train.kept.losses import RecordLosses
from tinyllava_core.train.ledger import Ledger, append_rows, read_rows
from tinyllava_core.train.loop import Paused, Stopped, Work, train
from tinyllava_core.train.measure import HeldOut
from tinyllava_core.train.moved import Moved
from tinyllava_core.train.observe import Observer
from tinyllava_core.train.once import read_once
from tinyllava_core.train.planned import PlannedSteps
from tinyllava_core.train.samples import leave_samples
from tinyllava_core.train.watch import Curves


def main(argv: list[str]) -> int:
    """Run the job file named in `argv`; give the exit code."""
    should_stop = [False]
    signal.signal(signal.SIGTERM, lambda *_: should_stop.__setitem__(0, True))
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        job = TrainJob.read(Path(argv[-1]))
        with lost_workers_told(), told(job.stage, job.out):
            run(job, should_stop)
    except Paused as paused:
        print(paused, flush=True)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return 143
    except memory.OutOfMemory as too_little:
        print(too_little, file=sys.stderr)
        return memory.EXIT_CODE
    if dist.is_initialized():  # not after a fault: with a rank gone, this waits for it
        dist.destroy_process_group()
    return 0


def run(job: TrainJob, should_stop: list[bool]) -> None:
    """Train the job's stage from its newest resume folder, or from its beginning, to its end. Raises Paused where the job's `until` comes first."""
    started_at, training = datetime.now(UTC).isoformat(timespec="seconds"), job.recipe.training(job.stage)
    device = choose_device(job.recipe.launch.device)
    start_ranks(device)
    make_repeatable(job.recipe, training, device)
    model, frozen = begin(job, training, device)
    spare_and_speed(model, training, job.recipe.launch)
    engine, gradients = engine_and_gradients(model, job)
    moved, attends = Moved(engine, model, job.stage), name_of(model.config.text_config, device, training.precision)
    packs = PlannedPacks(job.shards, job.plan, reading(job), job.features)
    ledger, losses = Ledger(job.out), RecordLosses(job.out)
    first_step = ledger.load(engine, newest) if (newest := ledger.newest()) else 0
    planned = PlannedSteps(job.plan)
    curves = None
    if rank() == 0:
        say_how(job, engine, device, attends)
        ledger.open_life(first_step, world_size(), device.type, started_at)
        losses.parts.cut(first_step)
        if gradients:
            gradients.parts.cut(first_step)
        curves = Curves.open(job, first_step)
    observer = Observer(packs, planned, ledger, curves, job.recipe.watch, flops.cost(model), device) if curves else None
    held_out = HeldOut.of(job, model, reading(job), partial(keep_best, engine, model, job, frozen))
    if held_out and rank() == 0:
        held_out.cut(first_step)
    barrier()
    work = Work(
        engine=engine,
        packs=packs,
        planned=planned,
        training=training,
        watch=job.recipe.watch,
        ledger=ledger,
        losses=losses,
        gradients=gradients,
        observer=observer,
        device=device,
        seed=job.recipe.seed,
        held_out=held_out,
        averaged=Averaged.of(job, model, len(packs.num_packs)),
        moved=moved,
        halving=model.config.image_token_id if job.has_halved_packs else None,
        until=job.until,
    )
    try:
        train(work, first_step, should_stop)
    except torch.OutOfMemoryError as error:
        raise memory.note(job, error) from error
    finally:
        if curves:
            curves.close()
    names = moved.names()
    with engine.whole(), frozen.whole():
        if rank() == 0:
            leave_samples(packs, job.out)  # at the end: before, the tokenizer's threads would be forked
            rows = trainable.part_rows(model, training, names)
            how = {"device": device.type, "engine": engine.name, "attention": attends}
            finish(model, job, rows, work, how)
    barrier()


def begin(job: TrainJob, training: Training, device: torch.device) -> tuple[TinyLlava, Frozen]:
    """Give the model that the stage starts from, where it is trained, and what its frozen weights were."""
    lora = training.language.lora
    packs = lora is not None and lora.quantize is not None
    model = read_once(partial(load_start, job), torch.device("cpu") if packs else device)
    trainable.choose(model, training)
    if packs:
        quantize.pack(model, device)
    frozen = Frozen.halved(model) if worth_halving(training, job.recipe.launch, device) else Frozen()
    model.to(device).train()
    return model, frozen


def say_how(job: TrainJob, engine: Engine, device: torch.device, attends: str) -> None:
    """Say what is about to train the stage."""
    where = f"{world_size()} x {device.type}"
    print(f"{job.stage}: {engine.name} on {where}, packed attention by {attends}", flush=True)


def spare_and_speed(model: TinyLlava, training: Training, launch: Launch) -> None:
    """Recompute activations and compile blocks, where the recipe says so. A frozen encoder keeps no activations anyway."""
    blocks = {"vision": model.model.vision_tower, "language": model.model.language_model}
    for part, module in blocks.items():
        if training.recomputes(part) and (part == "language" or training.part(part).trainable_from_layer is not None):
            module.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if launch.compile:
            compile_blocks(module)


def load_start(job: TrainJob) -> TinyLlava:
    """Give the model that the stage starts from: the stage before's checkpoint, or the parts put together."""
    recipe, language = job.recipe, job.recipe.training(job.stage).language
    pin(job.commits)
    model = checkpoint.load_model(job.start) if job.start is not None else assemble(recipe.model, recipe.seed)
    parts, folder = recipe.model_in(job.stage), tokenizer_folder(language_row(recipe.model.language))
    make_room(model, parts, load_tokenizer(folder, parts.scheme.marks).size, recipe.seed)
    lora.start(model, language.lora, language.trainable_from_layer or 0, recipe.seed)
    return model


def reading(job: TrainJob) -> Reading:
    """Say how this stage's records become tensors, just as its plan was told."""
    training, parts = job.recipe.training(job.stage), job.recipe.model_in(job.stage)
    language = language_row(parts.language)
    return Reading(
        tokenizer_folder=tokenizer_folder(language),
        prompt=prompt_of(training.prompt, language),
        max_length=training.max_length,
        vision=parts.seen,
        scheme=parts.scheme,
        pixels=parts.pixels,
        writing=training.writing,
    )


def keep_best(engine: Engine, model: TinyLlava, job: TrainJob, frozen: Frozen) -> None:
    """Write the weights as they are now as the folder best/: those with the lowest loss on the held-out records so far."""
    with engine.whole(), frozen.whole():
        if rank() == 0:
            save_checkpoint(model, job, job.out / "best")
    barrier()


def save_checkpoint(model: TinyLlava, job: TrainJob, folder: Path) -> None:
    """Write the model, with all that is needed to use it, as a folder."""
    parts = job.recipe.model_in(job.stage)
    checkpoint.save(model, parts, reading(job).prompt, tokenizer_folder(language_row(parts.language)), folder)


def finish(
    model: TinyLlava,
    job: TrainJob,
    rows: list[trainable.PartRow],
    work: Work,
    how: dict[str, str],
) -> None:
    """Save the checkpoint, of the mean where that is asked for, leave the result, and say where not just the right tensors moved."""
    out, ledger = job.out, work.ledger
    for wrong in trainable.not_as_wanted(rows, job.stage):
        print(f"warning: {wrong}; the checkpoint is kept, parts.jsonl has the numbers", file=sys.stderr, flush=True)
    (out / "parts.jsonl").unlink(missing_ok=True)
    append_rows(out / "parts.jsonl", [{field: getattr(row, field) for field in row.__slots__} for row in rows])
    if work.averaged:
        work.averaged.put()
    save_checkpoint(model, job, out / "checkpoint")
    for kept in work.kept:
        kept.join(job.plan)
    steps, measured = read_rows(ledger.steps), read_rows(out / "held_out.jsonl")
    tail = steps[-max(1, len(steps) // 10) :]
    result = TrainResult(
        stage=job.stage,
        num_steps=len(steps),
        num_records=sum(row["num_records"] for row in steps),
        num_tokens=sum(row["num_tokens"] for row in steps),
        first_loss=steps[0]["loss"],
        last_loss=sum(row["loss"] for row in tail) / len(tail),
        held_out_loss=measured[-1]["loss"] if measured else None,
        best_step=max((row["step"] for row in measured if row["is_best"]), default=None),
        seconds=round(sum(row["seconds"] for row in steps), 2),
        num_lives=len(read_rows(ledger.lives)),
        num_parameters=sum(row.num_parameters for row in rows),
        num_trained=sum(row.num_trained for row in rows),
        checkpoint_sha256=file_sha256(out / "checkpoint" / "model.safetensors"),
        world_size=world_size(),
        **how,
    )
    write_result(out, "train", result)
    for folder in ("resume", "average"):
        shutil.rmtree(out / folder, ignore_errors=True)
    for kept in work.kept:
        kept.parts.clear()


def choose_device(name: str) -> torch.device:
    """Turn the recipe's word into this rank's device. Raises BadInput for cuda without a GPU."""
    if not use_gpu(name):
        return torch.device("cpu")
    local = int(os.environ.get("LOCAL_RANK", "0"))
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


def make_repeatable(recipe: Recipe, training: Training, device: torch.device) -> None:
    """Seed. A CPU is asked for deterministic kernels, where they cost nothing; a GPU if the recipe says so."""
    torch.manual_seed(recipe.seed)
    asked = recipe.launch.deterministic
    if device.type == "cuda":
        torch.set_float32_matmul_precision("highest" if asked else "high")  # TensorFloat-32, in fp32 recipes
        torch.backends.cudnn.allow_tf32 = not asked
    if asked:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the first matrices are multiplied
    filling: Any = torch.utils.deterministic
    filling.fill_uninitialized_memory = False  # it would cost at every `empty`
    torch.use_deterministic_algorithms(asked or device.type == "cpu", warn_only=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
