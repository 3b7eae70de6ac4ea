"""Time one optimizer step: ours (packed, vision for real images only, logits where supervised) beside two padded ways.

    python benchmarks/training_step.py [--steps 6] [--rounds 3]

Three ways to the same gradients, on the same records, weights and cores, in turn within each step:
  ours      packs of the plan, each record attending to itself
  padded    as LLaVA trains: micro-batches padded to their longest record, a blank image encoded for a record without one, logits
            everywhere; with and without sorting each step's records by length first (group_by_length)
  trainer   transformers' Trainer with LlavaForConditionalGeneration and a padding collator

Sizes are tiny; lengths are those of LLaVA-1.5's sft mix as estimate/lengths.yaml has them, scaled by 1/9: 81 image tokens for 729. Useful tokens are those of records,
image tokens included, padding not. Seconds are those of processor time, all threads together, so that other work on the machine does
not decide the ratios; rates are for one core-second. The losses of a step must agree, or the program ends with an error.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import drawn
import numpy as np
import torch
from torch import Tensor
from transformers import (
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    SiglipVisionConfig,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from tinyllava_core.data.plan.pack import pack as pack_places
from tinyllava_core.data.plan.prompt import Encoded
from tinyllava_core.data.tensors.example import join
from tinyllava_core.model import trainable
from tinyllava_core.model.tinyllava import TinyLlava
from tinyllava_core.parts.connector import Shape
from tinyllava_core.recipe import load
from tinyllava_core.settings.training import Training
from tinyllava_core.tokenizer import IGNORE
from tinyllava_core.train.engines.plain import TorchEngine
from tinyllava_core.train.passes import layout_of

T = TypeVar("T")
PATCHES, SIZE = 81, 72  # 9 x 9 patches of 8 px
IMAGE, VOCABULARY, LONGEST, BATCH, MICRO = 1, 8192, 227, 32, 8  # 2048 / 9 tokens


@dataclass(frozen=True, slots=True)
class Example:
    """One record as every way takes it."""

    encoded: Encoded
    image: Tensor | None  # uint8 [3, H, W]


def draw(count: int, seed: int) -> list[Example]:
    """Draw records as long as those of recipe `base`'s sft (estimate/lengths.yaml), everything scaled by 1/9."""
    encoded = drawn.draw(
        load("base").sft.mix,
        PATCHES,
        VOCABULARY,
        LONGEST,
        captions=False,
        count=count,
        seed=seed,
        image_id=IMAGE,
        scale=1 / 9,
    )
    rng = np.random.default_rng(seed)

    def image(record: Encoded) -> Tensor | None:
        return torch.from_numpy(rng.integers(0, 256, (3, SIZE, SIZE), np.uint8)) if record.image_ends else None

    return [Example(record, image(record)) for record in encoded]


def make_models() -> tuple[LlavaForConditionalGeneration, TinyLlava]:
    """Make transformers' model and ours, with the same weights."""
    torch.manual_seed(0)
    vision = SiglipVisionConfig(
        hidden_size=192,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=SIZE,
        patch_size=8,
    )
    vision.vision_use_head = False
    text = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=320,
        intermediate_size=880,
        num_hidden_layers=6,
        num_attention_heads=5,
        num_key_value_heads=5,
        pad_token_id=0,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=IMAGE,
        image_seq_length=PATCHES,
        vision_feature_layer=-2,
        vision_feature_select_strategy="full",
    )
    config.final_norm = config.newline = False  # of our own, read off both
    theirs = LlavaForConditionalGeneration(config)
    shape = Shape(kind="mlp", vision_width=192, language_width=320, num_patches=PATCHES, grid=9, layers=2)
    config = copy.deepcopy(config)  # ours says in it which attention it takes
    config.connector, config.num_skipped, config.head_bias = dataclasses.asdict(shape), 0, False
    ours = TinyLlava(config)
    ours.load_state_dict(theirs.state_dict())
    for model in (theirs, ours):
        trainable.choose(model, TRAINING)
        model.train()
    return theirs, ours


TRAINING = Training.model_validate(
    {
        "mix": [{"source": "x"}],
        "global_batch": BATCH,
        "lr": 1e-4,
        "precision": "fp32",
        "language": {"trainable_from_layer": 0},
    }
)


def normalised(images: list[Tensor]) -> Tensor:
    return torch.stack(images).float() / 127.5 - 1


def our_step(model: TinyLlava, engine: TorchEngine, step: list[Example]) -> float:
    total = sum(example.encoded.num_supervised for example in step)
    packs = pack_places([len(example.encoded.ids) for example in step], LONGEST * MICRO)
    loss = 0.0
    for number, places in enumerate(packs):
        members = [step[place] for place in places]
        images = [example.image for example in members if example.image is not None]
        pack = join([example.encoded for example in members], [image[None] for image in images], SIZE, image_id=IMAGE)
        assert pack.places is not None
        losses = engine.losses(
            pack.ids_T,
            pack.position_T,
            pack.record_T,
            normalised(images) if images else torch.zeros(0, 3, SIZE, SIZE),
            pack.labels_T,
            layout_of(pack.places, pack.order),
        )
        mean = losses.sum() / total
        engine.backward(mean, is_last=number + 1 == len(packs))
        loss += float(mean.detach())
    engine.step()
    return loss


def collate(examples: list[Example], blank: bool) -> dict[str, Tensor]:
    """Pad to the longest, on the right; `blank`: a picture of nothing for records without one, as LLaVA gives them."""
    longest = max(len(example.encoded.ids) for example in examples)
    ids, labels = torch.zeros(len(examples), longest, dtype=torch.long), torch.full((len(examples), longest), IGNORE)
    mask = torch.zeros(len(examples), longest, dtype=torch.long)
    for row, example in enumerate(examples):
        length = len(example.encoded.ids)
        ids[row, :length], labels[row, :length] = (
            torch.tensor(example.encoded.ids),
            torch.tensor(example.encoded.labels),
        )
        mask[row, :length] = 1
    images = [example.image for example in examples if example.image is not None]
    if blank:
        images += [torch.full((3, SIZE, SIZE), 127, dtype=torch.uint8) for example in examples if example.image is None]
    batch = {"input_ids": ids, "labels": labels, "attention_mask": mask}
    return batch | ({"pixel_values": normalised(images)} if images else {})


def padded_step(model: LlavaForConditionalGeneration, optimizer: Any, step: list[Example], by_length: bool) -> float:
    total = sum(example.encoded.num_supervised for example in step)
    order = sorted(step, key=lambda example: len(example.encoded.ids)) if by_length else step
    loss = 0.0
    for first in range(0, BATCH, MICRO):
        batch = collate(order[first : first + MICRO], blank=True)
        pixels = batch.pop("pixel_values")
        features = model.model.get_image_features(pixel_values=pixels, return_dict=True).pooler_output
        used = int((batch["input_ids"] == IMAGE).sum()) // PATCHES
        embedded = model.get_input_embeddings()(batch["input_ids"])
        image = (
            torch.cat(list(features))[: used * PATCHES]
            if not isinstance(features, Tensor)
            else features[:used].flatten(0, 1)
        )
        embedded = embedded.masked_scatter((batch["input_ids"] == IMAGE)[..., None], image)
        out = model(
            inputs_embeds=embedded,
            attention_mask=batch["attention_mask"],
            labels=batch["labels"],
            num_items_in_batch=total,
        )
        out.loss.backward()
        loss += float(out.loss.detach())
    torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss


class Clock(TrainerCallback):
    """Takes the time of each of the Trainer's steps; the other ways take that step before, so that all meet the same machine."""

    def __init__(self, others: Callable[[int], None]) -> None:
        self.seconds: list[float] = []
        self._others, self._collating = others, 0.0

    def collate(self, rows: list[Example]) -> dict[str, Tensor]:
        """Collate, which the Trainer does before it says that a step begins."""
        seconds, batch = timed(lambda: collate(rows, blank=False))
        self._collating += seconds
        return batch

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._others(len(self.seconds))
        self._started = time.process_time() - self._collating
        self._collating = 0.0

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds.append(time.process_time() - self._started)


def trainer_steps(
    model: LlavaForConditionalGeneration, steps: list[list[Example]], folder: str, others: Callable[[int], None]
) -> list[float]:
    """Let the Trainer take the same steps, in the same order -> seconds of each; collating counts, as in all ways."""
    clock = Clock(others)
    arguments = TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=MICRO,
        gradient_accumulation_steps=BATCH // MICRO,
        max_steps=len(steps),
        learning_rate=1e-4,
        lr_scheduler_type="constant",
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        remove_unused_columns=False,
        dataloader_num_workers=0,
        train_sampling_strategy="sequential",
    )
    flat = [example for step in steps for example in step]
    Trainer(
        model=model,
        args=arguments,
        train_dataset=flat,
        data_collator=clock.collate,
        callbacks=[clock],
    ).train()
    return clock.seconds


def timed(act: Callable[[], T]) -> tuple[float, T]:
    started = time.process_time()
    value = act()
    return time.process_time() - started, value


def one_round(steps: list[list[Example]]) -> dict[str, list[float]]:
    """Take the same steps in each way, in turn -> seconds of each step by way, and its useful tokens."""
    theirs, ours = make_models()
    engine = TorchEngine(ours, trainable.groups(ours, TRAINING), TRAINING)
    padded, sorted_ = make_models()[0], make_models()[0]
    optimizers = [
        torch.optim.AdamW([p for p in m.parameters() if p.requires_grad], lr=1e-4, weight_decay=0.0)
        for m in (padded, sorted_)
    ]
    found: dict[str, list[float]] = {"useful": [float(sum(len(e.encoded.ids) for e in step)) for step in steps]}
    losses: dict[str, list[float]] = {}

    def others(number: int) -> None:
        step = steps[number]
        for name, act in (
            ("ours", partial(our_step, ours, engine, step)),
            ("padded", partial(padded_step, padded, optimizers[0], step, by_length=False)),
            ("padded, by length", partial(padded_step, sorted_, optimizers[1], step, by_length=True)),
        ):
            seconds, loss = timed(act)
            found.setdefault(name, []).append(seconds)
            losses.setdefault(name, []).append(loss)

    with tempfile.TemporaryDirectory() as folder:
        found["trainer"] = trainer_steps(theirs, steps, folder, others)
    for name, values in losses.items():
        np.testing.assert_allclose(values, losses["ours"], rtol=2e-4, err_msg=f"the losses of {name} are not ours")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    rates: dict[str, list[float]] = {}
    for number in range(given.rounds):
        found = one_round([draw(BATCH, 1000 * number + step) for step in range(given.steps)])
        useful = found.pop("useful")
        for name, seconds in found.items():  # a round's first step warms up
            rates.setdefault(name, []).extend(tokens / s for tokens, s in zip(useful[1:], seconds[1:], strict=True))
    base = statistics.median(rates["ours"])
    print(f"{'way':<20} {'useful tokens':>16} {'records':>10} {'ours is faster by':>18}")
    tokens = statistics.fmean(len(e.encoded.ids) for e in draw(2000, 7))
    for name, values in rates.items():
        rate = statistics.median(values)
        print(f"{name:<20} {rate:>16,.0f} {rate / tokens:>10.1f} {base / rate:>17.2f}x")


if __name__ == "__main__":
    main()
