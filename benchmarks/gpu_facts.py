"""What tests prove on a CPU, proved again on the device of this process: benchmarks/gpu.py runs these and lays them out.

Each gives whether it holds, and what was found. The model is the toy world's, whose weights lie in the clone; heads are those of the
real language models.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import multiprocessing
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from drawn import DrawnPacks
from gpu_speed import Clock, Size, Way, drawn_packs, make, packed, recipe_of
from PIL import Image
from torch import Tensor, nn

from tinyllava_core.data.tensors.example import Pack, join
from tinyllava_core.evaluate.answer.answer import Answerer, Asked
from tinyllava_core.model import checkpoint, kernels
from tinyllava_core.model.assemble import assemble
from tinyllava_core.model.records import Records
from tinyllava_core.model.tinyllava import TinyLlava
from tinyllava_core.parts import language_row, tokenizer_folder
from tinyllava_core.recipe import Recipe, load
from tinyllava_core.train.__main__ import make_repeatable
from tinyllava_core.train.compiled import compile_blocks
from tinyllava_core.train.ledger import Ledger, read_rows
from tinyllava_core.train.passes import pack_losses

Fact = dict[str, Any]  # ok, found, and numbers
HEADS = {
    "TinyLlama": (32, 4, 64),
    "Phi-2": (32, 32, 80),
    "Qwen3": (16, 8, 128),
    "Gemma 2": (8, 4, 256),
}  # query, key, width
LENGTHS = (700, 64, 1, 300, 129)
STEPS, DIES_AT = 6, 4


def machine(size: Size) -> Fact:
    """What this is."""
    name = torch.cuda.get_device_name() if size.device.type == "cuda" else "a CPU"
    memory = torch.cuda.get_device_properties(0).total_memory / 1e9 if size.device.type == "cuda" else 0
    found = f"{name}, {memory:.0f} GB, torch {torch.__version__}, transformers {transformers.__version__}"
    return {"ok": True, "found": found, "device": name}


def ceiling(size: Size) -> Fact:
    """The fastest product of two matrices, in bf16, of random numbers: zeros are faster, and no model."""
    side = 256 if size.tiny else 8192
    one, other = (torch.randn(side, side, device=size.device, dtype=torch.bfloat16) for _ in range(2))
    seconds = [timed(lambda: one @ other, size.device) for _ in range(12)][2:]
    rate = 2 * side**3 / min(seconds) / 1e12
    return {"ok": True, "found": f"{rate:.1f} TFLOP/s in a product of {side} x {side}", "TFLOP/s": rate}


def kernel(name: str, size: Size) -> Fact:
    """One kernel in bf16 against the records one by one in float64, with gradients, for every family's heads."""
    one = next(k for k in (kernels.VARLEN, kernels.FLASH, kernels.FLEX, kernels.LOOP) if k.name == name)
    on_gpu, lengths = size.device.type == "cuda", LENGTHS if not size.tiny else (9, 1, 30)
    dtype = torch.bfloat16 if on_gpu else torch.float32
    if not on_gpu and name in ("varlen", "flash-attn"):
        return {"ok": None, "found": "runs on a GPU alone"}
    backward = on_gpu or name != "flex"  # which has no backward on a CPU
    worst: dict[str, float] = {}
    for family, (heads, groups, width) in HEADS.items():
        for window, softcap in ((None, None), (100, None), (None, 50.0)):
            ask = kernels.Ask(scaling=None, window=window, softcap=softcap, dropout=0.0)
            if one.can(ask):
                gap = distance(one, ask, lengths, (heads, groups, width), dtype, size.device, backward)
                worst[family] = max(gap, worst.get(family, 0.0))
    if not worst:
        return {"ok": None, "found": "not in the libraries that are installed"}
    told = ", ".join(f"{family} {gap:.1e}" for family, gap in worst.items())
    return {"ok": max(worst.values()) < (2e-2 if on_gpu else 1e-4), "found": told, "worst": max(worst.values())}


def distance(
    one: kernels.Kernel, ask: kernels.Ask, lengths: tuple[int, ...], shape: tuple[int, int, int], dtype: torch.dtype,
    device: torch.device, backward: bool,
) -> float:  # fmt: skip
    """How far values and gradients lie from float64's, of the largest number among them."""
    heads, groups, width = shape
    draw = torch.Generator(device).manual_seed(0)
    given = [
        torch.randn(sum(lengths), many, width, device=device, generator=draw).to(dtype)
        for many in (heads, groups, groups)
    ]
    records, found = Records.lying(lengths, device), []
    for how, kind in ((one, dtype), (kernels.LOOP, torch.float64)):
        inputs = [tensor.to(kind, copy=True).requires_grad_(backward) for tensor in given]
        out = how.run(*inputs, records, ask)
        gradients = torch.autograd.grad((out * given[0].to(kind)).sum(), inputs) if backward else ()
        found.append([out.detach(), *gradients])
    return max(apart(mine, theirs) for mine, theirs in zip(*found, strict=True))


def dtypes(size: Size) -> Fact:
    """In a bf16 stage every matrix is multiplied in bf16, and attention's three inputs too."""
    model, packs = small("bf16", size)
    types, attended = Counter[str](), Counter[str]()

    def note(module: nn.Module, _: Any, out: Any) -> None:
        if type(module) is nn.Linear:
            types[str(out.dtype)] += 1

    def spied(device: str, dtype: torch.dtype, ask: kernels.Ask) -> kernels.Kernel:
        chosen = true_choose(device, dtype, ask)
        attended[f"{chosen.name} {dtype}"] += 1
        return chosen

    true_choose, kernels.choose = kernels.choose, spied
    watched = torch.nn.modules.module.register_module_forward_hook(note)
    try:
        losses = run(model, packs[0, 0], packs, "bf16", size)
    finally:
        watched.remove()
        kernels.choose = true_choose
    ok = set(types) == {"torch.bfloat16"} and all("bfloat16" in one for one in attended)
    told = f"linear layers {dict(types)}, attention {dict(attended)}, losses {losses.dtype}"
    return {"ok": ok and losses.dtype == torch.float32, "found": told.replace("torch.", "")}


def packed_is_unpacked(precision: str, size: Size) -> Fact:
    """Records in one pack and one by one: the same losses, the same gradients."""
    model, packs = small(precision, size)
    torch.set_float32_matmul_precision("highest")
    together = run(model, packs[0, 0], packs, precision, size)
    gradients = taken(model, together)
    alone_losses, alone, images = [], None, iter(packs[0, 0].pixels_N3HW.split(1))
    for record in packs.packs[0][0]:
        own = [next(images) for _ in record.image_ends]
        one = join([record], own, packs.reading.vision.image_size, image_id=model.config.image_token_id)
        losses = run(model, one, packs, precision, size)
        alone_losses.append(losses.detach())
        now = taken(model, losses)
        alone = now if alone is None else {name: alone[name] + value for name, value in now.items()}
    assert alone is not None
    off_losses = apart(together.detach(), torch.cat(alone_losses))
    off = max(apart(gradients[name], value) for name, value in alone.items())
    bound = 1e-3 if precision == "fp32" else 5e-2
    found = f"losses {off_losses:.1e} apart, gradients {off:.1e} (of the largest)"
    return {"ok": max(off_losses, off) < bound, "found": found, "losses": off_losses, "gradients": off}


def recompiles(size: Size) -> Fact:
    """Compiled blocks meet packs of other lengths and other numbers of records: no graph is made after the first packs."""
    model, packs = small("bf16", size)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compile_blocks(model.model.language_model, "inductor" if size.device.type == "cuda" else "eager")
    made = []
    for step in range(len(packs.num_packs)):
        run(model, packs[step, 0], packs, "bf16", size).sum().backward()
        made.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    torch._dynamo.reset()
    return {"ok": made[0] > 0 and made[1] == made[-1], "found": f"graphs after each pack: {made}"}


def waits(size: Size) -> Fact:
    """Nothing is asked of the GPU in a pack, forward and backward: what would be is an error here."""
    if size.device.type != "cuda":
        return {"ok": None, "found": "there is nothing to wait for on a CPU; the test asks the meta device"}
    model, packs = small("bf16", size)
    for _ in range(2):
        run(model, packs[0, 0].pin_memory(), packs, "bf16", size).sum().backward()
    pack = packs[0, 0].pin_memory()
    torch.cuda.set_sync_debug_mode("error")
    try:
        run(model, pack, packs, "bf16", size).sum().backward()
    except RuntimeError as fault:
        return {"ok": False, "found": str(fault).splitlines()[0]}
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return {"ok": True, "found": "none"}


def killed(size: Size) -> Fact:
    """A training that was killed with SIGKILL goes on from its newest state to the weights of one that was not."""
    with tempfile.TemporaryDirectory() as home:
        whole, cut = Path(home) / "whole", Path(home) / "cut"
        codes = [lives(folder, dies_at, size) for folder, dies_at in ((whole, None), (cut, DIES_AT), (cut, None))]
        if codes != [0, -signal.SIGKILL, 0]:
            return {"ok": False, "found": f"the processes ended with {codes}"}
        first, second = (torch.load(folder / "end.pt") for folder in (whole, cut))
        went_on = read_rows(cut / "from.jsonl")[-1]["step"]
        off = max(float((first[name] - second[name]).abs().max()) for name in first)
    same = all(torch.equal(first[name], second[name]) for name in first)
    found = f"killed in step {DIES_AT}, went on with step {went_on}: weights {'equal' if same else f'{off:.1e} apart'}"
    return {"ok": went_on > 0 and off < 1e-4, "found": found, "apart": off}


def lives(folder: Path, dies_at: int | None, size: Size) -> int:
    """Train in a process of its own -> its exit code."""
    one = multiprocessing.get_context("spawn").Process(target=life, args=(folder, dies_at, size))
    one.start()
    one.join()
    return int(one.exitcode or 0)


def life(folder: Path, dies_at: int | None, size: Size) -> None:
    """One life of a training: from the newest state on, to the end or to its death."""
    recipe = toy("bf16", size)
    training = recipe.sft.model_copy(update={"save_every": 1, "data_workers": 0})
    recipe = recipe.model_copy(
        update={"sft": training, "launch": recipe.launch.model_copy(update={"deterministic": True})}
    )
    make_repeatable(recipe, training, size.device)
    engine, model = make(recipe, "sft", size.device)
    ledger = Ledger(folder)
    newest = ledger.newest()
    first = ledger.load(engine, newest) if newest else 0
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "from.jsonl").open("a") as file:
        file.write(f'{{"step": {first}}}\n')

    class Dying(Clock):
        """Kills this process in a step."""

        def step_done(self, step: int, losses: Tensor, *rest: Any) -> None:
            super().step_done(step, losses, *rest)
            if step == dies_at:
                os.kill(os.getpid(), signal.SIGKILL)

    steps = dataclasses.replace(size, steps=STEPS, batch=4, tiny=True)
    packs = drawn_packs(recipe, "sft", model, steps)
    packed(engine, recipe, "sft", packs, steps, Dying(size.device), ledger, first)
    torch.save({name: p.detach().cpu() for name, p in model.named_parameters() if p.requires_grad}, folder / "end.pt")


def answers(size: Size) -> Fact:
    """What a checkpoint answers in bf16 and in fp32, alone and in a batch: the toy's language model, which has learned to read."""
    with tempfile.TemporaryDirectory() as home:
        parts = load("toy").model
        language = language_row(parts.language)
        with quiet():
            checkpoint.save(assemble(parts, 1), parts, "short", tokenizer_folder(language), Path(home) / "checkpoint")
        said = {}
        for precision in ("fp32", "bf16"):
            asks = Answerer(Path(home) / "checkpoint", precision=precision, device=size.device.type)
            questions = [asked(asks, number) for number in range(8 if size.tiny else 64)]
            for batch in (1, 16):
                runs = [questions[first : first + batch] for first in range(0, len(questions), batch)]
                said[precision, batch] = [answer for one in runs for answer in asks.answer(one, max_new_tokens=8)]
    wanted = said["fp32", 1]

    def share(precision: str, batch: int) -> float:
        return sum(mine == theirs for mine, theirs in zip(said[precision, batch], wanted, strict=True)) / len(wanted)

    shares = {f"{precision} by {batch}": share(precision, batch) for precision, batch in list(said)[1:]}
    told = ", ".join(f"{name} {one:.1%}" for name, one in shares.items())
    distinct = len(set(wanted))
    found = f"the same as fp32 alone: {told}; {len(wanted)} questions, {distinct} different answers"
    return {"ok": shares["fp32 by 16"] == 1.0 and distinct > 1, "found": found} | shares


def asked(asks: Answerer, number: int) -> Asked:
    """Ask about a picture of noise, in words of the toy world."""
    words = ("what colour is the circle?", "how many shapes are there?", "is there a star?", "where is the square?")
    size, file = asks.loaded.vision.image_size, io.BytesIO()
    noise = np.random.default_rng(number).integers(0, 256, (size, size, 3), np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    picture = asks.decoded(file.getvalue(), f"noise {number}")
    return Asked(ids=asks.ids(words[number % 4], [picture.size]), pictures=(picture,))


def toy(precision: str, size: Size) -> Recipe:
    """The toy's parts in recipe `base`'s sft."""
    recipe = recipe_of("", "sft", Way(), dataclasses.replace(size, tiny=True))
    return recipe.model_copy(update={"sft": recipe.sft.model_copy(update={"precision": precision})})


def small(precision: str, size: Size) -> tuple[TinyLlava, DrawnPacks]:
    """The toy's model with random weights, and five steps of one pack each."""
    recipe = toy(precision, size)
    _, model = make(recipe, "sft", size.device)
    little = dataclasses.replace(size, steps=5, batch=6, tiny=True)
    return model, drawn_packs(recipe, "sft", model, little, capacity=100_000)


def run(model: TinyLlava, pack: Pack, packs: DrawnPacks, precision: str, size: Size) -> Tensor:
    """Run one pack as the loop does -> the loss of each supervised token."""
    return pack_losses(model.supervised_losses, pack, packs.reading.vision, precision, size.device)


def taken(model: TinyLlava, losses: Tensor) -> dict[str, Tensor]:
    """Take the gradients, and leave none."""
    model.zero_grad(set_to_none=True)
    losses.sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def apart(mine: Tensor, theirs: Tensor) -> float:
    """The largest difference, of the largest number."""
    largest = float(theirs.double().abs().max())
    return float((mine.double() - theirs.double()).abs().max()) / max(largest, 1e-30)


def timed(act: Callable[[], Any], device: torch.device) -> float:
    """Seconds of one act on the device."""
    import time

    sync = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    sync()
    started = time.perf_counter()
    act()
    sync()
    return time.perf_counter() - started


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from reporting on weights."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    yield
