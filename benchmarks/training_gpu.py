"""Time real-size training steps on one GPU, with random weights: samples/s, tokens/s, MFU, peak memory.

    python benchmarks/training_gpu.py [--models tinyllama phi-2] [--stages pretrain sft] [--steps 8]

For each model (with SigLIP-384) and stage, as recipe `base` trains it: packed (ours); packed with compiled blocks; packed with
all logits of a pack at once; padded micro-batches as LLaVA has them. Lengths are those of the stage's mix as estimate/lengths.yaml
has them, images are noise: the data path is not measured here. MFU counts what the frozen and trained parts need
(train/flops.py) for useful tokens only, over the card's dense bf16 peak from its datasheet.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from tinyllava_core.data.plan.pack import pack as pack_places
from tinyllava_core.data.plan.prompt import Encoded
from tinyllava_core.data.tensors.example import Pack, join
from tinyllava_core.estimate import lengths
from tinyllava_core.model import loss as losses_in_pieces
from tinyllava_core.model import trainable
from tinyllava_core.model.assemble import published
from tinyllava_core.model.tinyllava import TinyLlava
from tinyllava_core.recipe import Recipe, load
from tinyllava_core.settings.training import Training
from tinyllava_core.tokenizer import IGNORE
from tinyllava_core.train import flops
from tinyllava_core.train.__main__ import spare_and_speed
from tinyllava_core.train.engines.plain import TorchEngine

LANGUAGES = {"tinyllama": "tinyllama-1.1b", "phi-2": "phi-2"}
DEVICE = torch.device("cuda")


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to run the same records."""

    name: str
    padded: bool = False
    compiled: bool = False
    whole_logits: bool = False


WAYS = (
    Way(name="packed"),
    Way(name="packed, compiled", compiled=True),
    Way(name="packed, all logits at once", whole_logits=True),
    Way(name="padded", padded=True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one optimizer step holds."""

    packs: list[Pack]
    num_records: int
    num_tokens: int
    num_squares: int
    num_supervised: int
    num_images: int


def draw(recipe: Recipe, stage: str, count: int, image_id: int, seed: int) -> list[Encoded]:
    """Draw records of a stage's lengths, with random ids."""
    training, per_image = recipe.training(stage), recipe.model.tokens_per_image
    real = lengths.draw(training.mix, per_image, captions=stage == "pretrain", count=count, seed=seed)
    rng, found = np.random.default_rng(seed), []
    for tokens, supervised, images in zip(real.num_tokens, real.num_supervised, real.num_images, strict=True):
        before = per_image * int(images)
        text = int(np.clip(tokens - before, 8, training.max_length - before))
        ids = rng.integers(10, 30_000, text).tolist()
        learned = int(np.clip(supervised, 1, text - 1))
        labels = [IGNORE] * (before + text - learned) + ids[text - learned :]
        found.append(Encoded(ids=[image_id] * before + ids, labels=labels, image_ends=(before,) if images else ()))
    return found


def make_step(records: list[Encoded], capacity: int, size: int) -> Step:
    """Pack the records of a step."""
    packs = []
    for places in pack_places([len(record.ids) for record in records], capacity):
        members = [records[place] for place in places]
        noise = [
            torch.randint(0, 256, (1, 3, size, size), dtype=torch.uint8)
            for member in members
            for _ in member.image_ends
        ]
        packs.append(join(members, noise, size))
    return Step(
        packs=packs,
        num_records=len(records),
        num_tokens=sum(len(record.ids) for record in records),
        num_squares=sum(len(record.ids) ** 2 for record in records),
        num_supervised=sum(record.num_supervised for record in records),
        num_images=sum(len(record.image_ends) for record in records),
    )


def packed_step(engine: TorchEngine, step: Step) -> None:
    for number, pack in enumerate(step.packs):
        with torch.autocast("cuda", torch.bfloat16):
            losses = engine.losses(
                pack.ids_T.to(DEVICE),
                pack.position_T.to(DEVICE),
                pack.record_T.to(DEVICE),
                pixels(pack),
                pack.labels_T.to(DEVICE),
            )
        engine.backward(losses.sum() / step.num_supervised, is_last=number + 1 == len(step.packs))
    engine.step()


def padded_step(engine: TorchEngine, step: Step, micro: int) -> None:
    """Micro-batches of records padded to the longest, a blank image for a record without one, logits everywhere."""
    model, records = engine.model, [part for pack in step.packs for part in split(pack)]
    for first in range(0, len(records), micro):
        batch = records[first : first + micro]
        longest = max(len(ids) for ids, _, _ in batch)
        ids_BT = torch.zeros(len(batch), longest, dtype=torch.long)
        labels_BT, mask_BT = torch.full_like(ids_BT, IGNORE), torch.zeros_like(ids_BT)
        for row, (ids, labels, _) in enumerate(batch):
            ids_BT[row, : len(ids)], labels_BT[row, : len(ids)], mask_BT[row, : len(ids)] = ids, labels, 1
        blanks = sum(not len(image) for *_, image in batch)
        blank = torch.full((blanks, 3, *batch[0][2].shape[-2:]), 127, dtype=torch.uint8)
        images = torch.cat([image for *_, image in batch] + [blank])  # the blanks last: nothing refers to them
        with torch.autocast("cuda", torch.bfloat16):
            tokens_NKD = model.image_tokens(images.to(DEVICE).float() / 127.5 - 1)
            embedded = model.get_input_embeddings()(ids_BT.to(DEVICE))
            is_image = (ids_BT == model.config.image_token_id).to(DEVICE)
            used = int(is_image.sum()) // tokens_NKD.shape[1]
            embedded = embedded.masked_scatter(is_image[..., None], tokens_NKD[:used].to(embedded.dtype))
            model._attend(model._own_attention)
            hidden = model.model.language_model(
                inputs_embeds=embedded, attention_mask=mask_BT.to(DEVICE), use_cache=False
            ).last_hidden_state
            logits = model.lm_head(hidden)
        loss = cross_entropy(
            logits[:, :-1].float().flatten(0, 1),
            labels_BT[:, 1:].to(DEVICE).flatten(),
            ignore_index=IGNORE,
            reduction="sum",
        )
        engine.backward(loss / step.num_supervised, is_last=first + micro >= len(records))
    engine.step()


def split(pack: Pack) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Take a pack apart -> ids, labels, images of each record."""
    first_image = 0
    for record in range(int(pack.record_T[-1]) + 1):
        mine = pack.record_T == record
        ids = pack.ids_T[mine]
        has = int(0 in ids.tolist())  # the image token's id
        yield ids, pack.labels_T[mine], pack.pixels_N3HW[first_image : first_image + has]
        first_image += has


def pixels(pack: Pack) -> Tensor:
    return pack.pixels_N3HW.to(DEVICE).float() / 127.5 - 1


def make_engine(recipe: Recipe, training: Training, way: Way) -> TorchEngine:
    """Make the model with random weights on the GPU, as the stage trains it."""
    torch.manual_seed(0)
    with DEVICE:
        model = TinyLlava(published(recipe.model))
    trainable.choose(model, training)
    model.train()
    spare_and_speed(model, training, recipe.launch.model_copy(update={"compile": way.compiled}))
    return TorchEngine(model, trainable.groups(model, training), training)


def measure(recipe: Recipe, stage: str, way: Way, given: argparse.Namespace) -> str:
    """Run one way -> its row of the table."""
    training = recipe.training(stage)
    torch.cuda.reset_peak_memory_stats()
    losses_in_pieces.PIECE = 2**62 if way.whole_logits else PIECE
    engine = make_engine(recipe, training, way)
    size = engine.model.config.vision_config.image_size
    steps = [
        make_step(draw(recipe, stage, given.batch, 0, seed), given.pack_length, size) for seed in range(given.steps)
    ]
    act: Callable[[Step], None] = (
        (lambda step: padded_step(engine, step, given.micro))
        if way.padded
        else (lambda step: packed_step(engine, step))
    )
    cost, peak, seconds = flops.cost(engine.model), flops.peak(DEVICE), []
    for step in steps:
        torch.cuda.synchronize()
        started = time.perf_counter()
        act(step)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    warm = [(step, spent) for step, spent in zip(steps, seconds, strict=True)][given.steps // 2 :]
    samples = statistics.median(step.num_records / spent for step, spent in warm)
    tokens = statistics.median(step.num_tokens / spent for step, spent in warm)
    work = statistics.median(
        cost.of(s.num_tokens, s.num_squares, s.num_supervised, s.num_images) / spent for s, spent in warm
    )
    memory = torch.cuda.max_memory_allocated() / 2**30
    share = f"{work / peak:.1%}" if peak else "n/a"
    return f"{samples:>10.1f} {tokens:>10,.0f} {work / 1e12:>8.0f} {share:>7} {memory:>9.1f}"


PIECE = losses_in_pieces.PIECE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=sorted(LANGUAGES), default=sorted(LANGUAGES, reverse=True))
    parser.add_argument("--stages", nargs="+", choices=("pretrain", "sft"), default=["pretrain", "sft"])
    parser.add_argument("--steps", type=int, default=8, help="the second half of them is measured")
    parser.add_argument("--batch", type=int, default=32, help="records of a step on this GPU")
    parser.add_argument("--pack-length", type=int, default=8192)
    parser.add_argument("--micro", type=int, default=8, help="records of a padded micro-batch")
    parser.add_argument("--set", nargs="+", default=[], metavar="key=value", help="fields of recipe base")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("no GPU here: torch.cuda.is_available() is False")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {time.strftime('%Y-%m-%d')}")
    print(
        f"{'model':<10} {'stage':<9} {'way':<28} {'samples/s':>10} {'tokens/s':>10} {'TFLOP/s':>8} {'MFU':>7} {'peak GiB':>9}"
    )
    for name in given.models:
        recipe = load("base", {"model.language": LANGUAGES[name], **dict(word.split("=", 1) for word in given.set)})
        for stage in given.stages:
            for way in WAYS:
                try:
                    row = measure(recipe, stage, way, given)
                except torch.OutOfMemoryError:
                    row = f"{'out of memory':>10}"
                print(f"{name:<10} {stage:<9} {way.name:<28} {row}", flush=True)
                gc.collect()
                torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
