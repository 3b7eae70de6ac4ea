"""How fast real sizes train on the device of this process, with random weights: what benchmarks/gpu.py measures and lays out.

Records are as long as those of the stage's mix (estimate/lengths.yaml), pictures are noise: the data path is not measured here. The
packed ways are the product's own loop (train/loop.py), data workers and pinned memory included.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from drawn import FULL, DrawnPacks, DrawnSteps, Nothing, draw
from torch import Tensor
from torch.nn.functional import cross_entropy

from tinyllava_core.data.plan.prompt import Encoded
from tinyllava_core.data.tensors.example import normalise
from tinyllava_core.estimate.memory import memory
from tinyllava_core.estimate.part_counts import part_counts
from tinyllava_core.estimate.shapes import shapes
from tinyllava_core.estimate.stage import expected
from tinyllava_core.model import trainable
from tinyllava_core.model.assemble import published
from tinyllava_core.model.attention import name_of
from tinyllava_core.model.tinyllava import TinyLlava
from tinyllava_core.parts import VISIONS
from tinyllava_core.recipe import Recipe, load
from tinyllava_core.settings.launch import Launch
from tinyllava_core.tokenizer import IGNORE
from tinyllava_core.train import flops
from tinyllava_core.train.__main__ import spare_and_speed
from tinyllava_core.train.engines.engine import Engine
from tinyllava_core.train.kept.losses import RecordLosses
from tinyllava_core.train.loop import Work, train

SIGLIP, SIGLIP2 = "siglip-so400m-patch14-384", "siglip2-so400m-patch14-384"
MODELS: dict[str, dict[str, Any]] = {  # fields of recipe `base`
    "tinyllama": {"model.language": "tinyllama-1.1b", "model.vision": SIGLIP},
    "phi-2": {"model.language": "phi-2", "model.vision": SIGLIP},
    "qwen3-0.6b": {"model.language": "qwen3-0.6b", "model.vision": SIGLIP2, "sft.prompt": "chatml"},
}
TINY: dict[str, Any] = {"model.language": "toy-llama", "model.vision": "toy-vit"}  # whatever is asked for, on a CPU
ON_TORCHRUN = {"launcher": "torchrun", "processes": 1, "nodes": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is run."""

    device: torch.device
    steps: int = 6  # the first half of them warms up
    batch: int = 32  # records of a step
    micro: int = 8  # of a padded micro-batch
    tiny: bool = False  # the toy model, and lengths that fit it


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to run the same records."""

    padded: bool = False
    stage: dict[str, Any] = field(default_factory=dict)  # fields of the stage
    launch: dict[str, Any] = field(default_factory=dict)


WAYS: dict[str, Way] = {
    "packed": Way(),
    "packed, nothing made again": Way(stage={"gradient_checkpointing": False}),
    "packed, compiled": Way(launch={"compile": True}),
    "packed, fsdp keep": Way(launch=ON_TORCHRUN | {"fsdp": "keep"}),
    "packed, fsdp reshard": Way(launch=ON_TORCHRUN | {"fsdp": "reshard"}),
    "packed, deepspeed zero-2": Way(launch=ON_TORCHRUN | {"zero_stage": 2}),
    "padded, as LLaVA": Way(padded=True),
}


def recipe_of(model: str, stage: str, way: Way, size: Size) -> Recipe:
    """Recipe `base` with this model, on this one device."""
    fields = (TINY if size.tiny else MODELS[model]) | {f"{stage}.{name}": value for name, value in way.stage.items()}
    recipe = load("base", fields)
    launch = Launch.model_validate({"device": size.device.type} | way.launch)
    return recipe.model_copy(update={"launch": launch})


def measure(model: str, stage: str, way_name: str, size: Size) -> dict[str, Any]:
    """Train some steps -> records and tokens a second, operations a second, peak memory beside the estimate."""
    way = WAYS[way_name]
    recipe = recipe_of(model, stage, way, size)
    training = recipe.training(stage)
    with ranks(alone=recipe.launch.launcher == "plain", device=size.device), uncompiled(size.tiny):
        engine, made = make(recipe, stage, size.device)
        packs = drawn_packs(recipe, stage, made, size)
        if size.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        clock = Clock(size.device)
        if way.padded:
            padded(engine, made, packs, size, clock)
        else:
            packed(engine, recipe, stage, packs, size, clock)
    warm = range(size.steps // 2, size.steps)
    seconds = clock.ends[-1] - clock.ends[size.steps // 2 - 1]
    planned, cost = DrawnSteps(packs), flops.cost(made)
    work = sum(
        cost.of(packs.num_tokens[s], planned.squares(s), packs.num_supervised[s], planned.num_tiles(s)) for s in warm
    )
    found: dict[str, Any] = {
        "records/s": sum(packs.num_records[s] for s in warm) / seconds,
        "tokens/s": sum(packs.num_tokens[s] for s in warm) / seconds,
        "TFLOP/s": work / seconds / 1e12,
        "peak": flops.peak(size.device),
        "attention": name_of(made.config.text_config, size.device, training.precision),
        "last loss": clock.losses[-1],
        "records of the stage": expected(recipe, stage, 1).num_records,
    }
    if size.device.type == "cuda":
        found["peak GB"] = torch.cuda.max_memory_allocated() / 1e9
    if not way.padded:
        found["estimate GB"] = estimated(recipe, stage, packs, made) / 1e9
    return found


def make(recipe: Recipe, stage: str, device: torch.device) -> tuple[Engine, TinyLlava]:
    """Make the model with random weights where it is trained, and the engine that the recipe names."""
    from tinyllava_core.train.engines.fsdp import FsdpEngine
    from tinyllava_core.train.engines.plain import TorchEngine

    training, launch = recipe.training(stage), recipe.launch
    torch.manual_seed(0)
    with device:
        model = TinyLlava(published(recipe.model)).float()
    trainable.choose(model, training)
    model.train()
    spare_and_speed(model, training, launch)
    groups = trainable.groups(model, training)
    if launch.zero_stage is not None:
        from tinyllava_core.train.engines.zero import DeepSpeedEngine

        return DeepSpeedEngine(model, groups, training, launch), model
    if launch.fsdp is not None:
        return FsdpEngine(model, groups, training, launch), model
    return TorchEngine(model, groups, training), model


def drawn_packs(recipe: Recipe, stage: str, model: TinyLlava, size: Size, capacity: int | None = None) -> DrawnPacks:
    """Draw the records of every step, and pack them."""
    training, per_image = recipe.training(stage), recipe.model.tokens_per_image
    scale = per_image / FULL if size.tiny else 1.0
    longest = round(training.max_length * scale)
    steps = [
        draw(
            training.mix,
            per_image,
            min(30_000, model.config.text_config.vocab_size),
            longest,
            captions=stage == "pretrain",
            count=size.batch,
            seed=seed,
            image_id=model.config.image_token_id,
            scale=scale,
        )
        for seed in range(size.steps)
    ]
    most = capacity or round((training.pack_length or training.max_length) * scale)
    return DrawnPacks(steps, most, VISIONS[recipe.model.vision], model.config.image_token_id)


class Clock:
    """Stands where the loop's observer does: takes the time when the device is done with each step."""

    def __init__(self, device: torch.device) -> None:
        self._device, self.ends, self.losses = device, list[float](), list[float]()

    def step_done(self, step: int, losses: Tensor, *_: Any) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())
        self.losses.append(float(losses.sum()))


def packed(
    engine: Engine, recipe: Recipe, stage: str, packs: DrawnPacks, size: Size, clock: Any, ledger: Any = None, first: int = 0
) -> None:  # fmt: skip
    """Let the product's loop train all steps from `first` on."""
    training = recipe.training(stage)
    if size.tiny:
        training = training.model_copy(update={"data_workers": 0})
    with tempfile.TemporaryDirectory() as home:
        losses = RecordLosses(Path(home))
        losses.parts.cut(first)
        work: Any = {
            "engine": engine,
            "packs": packs,
            "planned": DrawnSteps(packs),
            "training": training,
            "watch": recipe.watch,
            "ledger": ledger or Nothing(),
            "losses": losses,
            "observer": clock,
            "device": size.device,
            "seed": recipe.seed,
            "moved": Nothing(),
        }
        train(Work(**work), first, [False])


def padded(engine: Engine, model: TinyLlava, packs: DrawnPacks, size: Size, clock: Clock) -> None:
    """As LLaVA trains: micro-batches padded to their longest, a blank picture for a record without one, logits everywhere."""
    for step, one in enumerate(packs.packs):
        records, total = [record for pack in one for record in pack], 0.0
        for first in range(0, len(records), size.micro):
            loss = padded_loss(model, records[first : first + size.micro], packs, size) / packs.num_supervised[step]
            engine.backward(loss, is_last=first + size.micro >= len(records))
            total += float(loss.detach())
        engine.step()
        clock.step_done(step, torch.tensor(total))


def padded_loss(model: TinyLlava, records: Sequence[Encoded], packs: DrawnPacks, size: Size) -> Tensor:
    """Run one padded micro-batch -> the sum of its losses."""
    longest, image_id = max(len(record.ids) for record in records), model.config.image_token_id
    ids_BT = torch.zeros(len(records), longest, dtype=torch.long)
    labels_BT, mask_BT = torch.full_like(ids_BT, IGNORE), torch.zeros_like(ids_BT)
    for row, record in enumerate(records):
        mine = slice(0, len(record.ids))
        ids_BT[row, mine], labels_BT[row, mine] = torch.tensor(record.ids), torch.tensor(record.labels)
        ids_BT[row, len(record.ids) :], mask_BT[row, mine] = 3, 1  # 3: some word that is no image
    used = sum(len(record.image_ends) for record in records)
    blanks = sum(not record.image_ends for record in records)  # they come last: nothing refers to them
    pixels = torch.cat([packs.noise[n % len(packs.noise)] for n in range(used + blanks)]).to(size.device)
    is_image_BT = (ids_BT == image_id).to(size.device)
    with torch.autocast(size.device.type, torch.bfloat16):
        tokens_NKD = model.image_tokens(normalise(pixels, packs.reading.vision))[:used]
        embedded = model.get_input_embeddings()(ids_BT.to(size.device))
        embedded = embedded.masked_scatter(is_image_BT[..., None], tokens_NKD.to(embedded.dtype))
        model._attend(model._own_attention)
        hidden = model.model.language_model(
            inputs_embeds=embedded, attention_mask=mask_BT.to(size.device), use_cache=False
        ).last_hidden_state
        logits = model.lm_head(hidden)
    targets = labels_BT[:, 1:].to(size.device).flatten()
    return cross_entropy(logits[:, :-1].float().flatten(0, 1), targets, ignore_index=IGNORE, reduction="sum")


def estimated(recipe: Recipe, stage: str, packs: DrawnPacks, model: TinyLlava) -> float:
    """Ask estimate/memory.py for the longest pack that was run -> bytes."""
    training = recipe.training(stage)
    longest = max((one for step in packs.packs for one in step), key=lambda one: sum(len(r.ids) for r in one))
    return memory(
        shapes(recipe.model),
        part_counts(recipe.model, training),
        training,
        recipe.launch,
        sum(len(record.ids) for record in longest),
        images_in_pack=sum(len(record.image_ends) for record in longest),
        supervised_in_pack=sum(record.num_supervised for record in longest),
    ).total


def profile(model: str, stage: str, size: Size) -> list[str]:
    """Say where the time of one step goes, the ten dearest kernels first."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as watched

    recipe = recipe_of(model, stage, Way(), size)
    engine, made = make(recipe, stage, size.device)
    packs, clock = drawn_packs(recipe, stage, made, size), Clock(size.device)
    on_gpu = size.device.type == "cuda"

    class Watching(Clock):
        """Begins to watch after the first steps."""

        def step_done(self, step: int, losses: Tensor, *rest: Any) -> None:
            super().step_done(step, losses, *rest)
            if step == size.steps - 2:
                watch.start()

    watch = watched(activities=[ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if on_gpu else []))
    clock = Watching(size.device)
    packed(engine, recipe, stage, packs, size, clock)
    watch.stop()

    def spent(event: Any) -> float:
        return float(event.self_device_time_total if on_gpu else event.self_cpu_time_total)

    events = sorted(watch.key_averages(), key=spent, reverse=True)
    whole = sum(map(spent, events))
    return [f"{spent(e) / whole:>6.1%} {spent(e) / 1e3:>9.1f} ms {e.count:>6} x {e.key[:80]}" for e in events[:10]]


@contextmanager
def uncompiled(tiny: bool) -> Iterator[None]:
    """Leave out what compiled blocks would take of a dry run: a minute of a C++ compiler."""
    torch.compiler.set_stance("force_eager" if tiny else "default")
    try:
        yield
    finally:
        torch.compiler.set_stance("default")


@contextmanager
def ranks(*, alone: bool, device: torch.device) -> Iterator[None]:
    """Be the one rank of a process group, for the engines that shard."""
    if not alone:
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, rank=0, world_size=1, store=dist.HashStore())
    try:
        yield
    finally:
        if not alone:
            dist.destroy_process_group()
