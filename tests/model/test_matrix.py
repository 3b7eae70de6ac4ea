"""Any two of encoder, connector, family of language models and way to cut pictures: what each could spoil for the other.

A cell is built, trained a step in each way that a recipe may ask for, saved, loaded, asked with and without cache. What cannot be
put together is refused, with the reason; nothing is skipped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from model import matrix
from tiny import make_tokenizer
from torch import Tensor
from transformers import GenerationConfig, LlavaForConditionalGeneration

from tinyllava_core.data.tensors.order import order_of
from tinyllava_core.errors import BadInput
from tinyllava_core.model import checkpoint, trainable
from tinyllava_core.model.records import Layout
from tinyllava_core.model.tinyllava import TinyLlava, laid
from tinyllava_core.parts import CONNECTORS
from tinyllava_core.parts.picture import Scheme
from tinyllava_core.settings.model import Model
from tinyllava_core.settings.training import Training
from tinyllava_core.tokenizer import IGNORE

WITHOUT_GRID = {
    "pixel-shuffle",
    "pixel-shuffle-linear",
    "average-pool",
    "conv-abstractor",
    "grid-queries",
    "fourier-mlp",
}
EACH_ALONE = {"mlp", "linear", "identity", "pixel-shuffle", "pixel-shuffle-linear", "average-pool"}
RECIPES: dict[str, dict[str, int]] = {
    "pretrain": {"connector": 0},
    "sft": {"connector": 0, "language": 0},
    "share": {"connector": 0, "language": 0, "vision": 1},
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer(folder)
    with pytest.MonkeyPatch.context() as patch:
        matrix.add_rows(patch, folder)
        yield folder


def fits(vision: str, connector: str) -> bool:
    mixture = vision in matrix.MIXTURES
    return not (mixture and connector in WITHOUT_GRID) and (mixture or connector != "mixture-mlp")


def modes(vision: str, connector: str) -> list[str]:
    """List the ways to cut pictures that go with an encoder and a connector: anyres wants tokens on a square, native each alone."""
    refused = set()
    if vision in matrix.MIXTURES or connector in ("resampler", "qformer", "mixture-mlp"):
        refused.add("anyres")
    if vision not in ("tiny-siglip", "tiny-naflex") or connector not in EACH_ALONE:
        refused.add("native")
    return [mode for mode in matrix.MODES if mode not in refused]


def every_cell() -> list[tuple[str, str, str, str]]:
    return [
        (vision, connector, family, mode)
        for connector in CONNECTORS
        for family in matrix.FAMILIES
        for vision in matrix.ENCODERS
        if fits(vision, connector)
        for mode in modes(vision, connector)
    ]


def cells() -> list[tuple[str, str, str, str]]:
    """Choose cells one by one, each the one with most new pairs, until any two parts have met; three need not."""
    every = every_cell()
    pairs = {cell: set(combinations(cell, 2)) for cell in every}
    missing, found = set[tuple[str, str]]().union(*pairs.values()), []
    while missing:
        best = max(every, key=lambda cell: len(pairs[cell] & missing))
        missing -= pairs[best]
        found.append(best)
    return sorted(found, key=lambda cell: (cell[0], cell[3] == "native"))  # those of one encoder together: it is kept


CELLS = cells()


def test_any_two_parts_that_fit_meet_in_a_cell() -> None:
    every = every_cell()
    for one, other in combinations(range(4), 2):
        assert {(cell[one], cell[other]) for cell in CELLS} == {(cell[one], cell[other]) for cell in every}
    assert len(CELLS) < len(every) / 8


SIZES = ((40, 30), (90, 31), (20, 70))  # pixels of the pictures, in turn


def pack(scheme: Scheme, images_of_records: list[int]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Layout]:
    """Make a pack of records of so many images each, with 9 words and the last 3 of them supervised."""
    ids, position, record = [], [], []
    sizes = [SIZES[number % 3] for number in range(sum(images_of_records))]
    draw = torch.Generator().manual_seed(len(images_of_records))
    for number, num_images in enumerate(images_of_records):
        words = torch.randint(3, matrix.VOCABULARY, (9 + number,), generator=draw).tolist()
        seen = sizes[sum(images_of_records[:number]) :][:num_images]
        one = [matrix.IMAGE_ID] * sum(scheme.cut(*size).tokens for size in seen) + words
        ids += one
        position += range(len(one))
        record += [number] * len(one)
    record_T, ids_T = torch.tensor(record), torch.tensor(ids)
    last = torch.cat([record_T[3:] != record_T[:-3], torch.ones(3, dtype=torch.bool)])
    labels_T, order = torch.where(last, ids_T, IGNORE), order_of(scheme, sizes)
    num_tiles = sum(scheme.cut(*size).num_tiles for size in sizes)
    shape = (num_tiles, 3, 16, 64) if order is not None and scheme.mode == "native" else (num_tiles, 3, 32, 32)
    pixels = torch.randn(*shape, generator=draw)
    layout = Layout.of(ids_T, record_T, labels_T, matrix.IMAGE_ID)
    if order is not None:
        layout = dataclasses.replace(layout, place_I=order.place_I, weight_I=order.weight_I, shapes_N2=order.shapes_N2)
    return ids_T, torch.tensor(position), record_T, pixels, labels_T, layout


@pytest.mark.parametrize(("vision", "connector", "family", "mode"), CELLS, ids=["-".join(cell) for cell in CELLS])
def test_a_cell_trains_in_every_way_and_comes_back_whole(
    vision: str, connector: str, family: str, mode: str, tokenizer: Path, tmp_path: Path
) -> None:
    parts = matrix.choice(vision, connector, family, mode)
    model = matrix.make(parts)
    together, lone = pack(parts.scheme, [1, 2]), pack(parts.scheme, [0])
    for recipe, opened in RECIPES.items():
        train_one_step(model, recipe, opened, connector, [lone, together] if recipe == "share" else [together])
    records_do_not_see_each_other(model, parts.scheme, together)
    checkpoint.save(model, parts, "short", tokenizer, tmp_path / "checkpoint")
    loaded = checkpoint.load(tmp_path / "checkpoint").model
    before, after = model.state_dict(), loaded.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    ids_T, _, _, pixels, _, layout = pack(parts.scheme, [2])  # two images in one record
    with torch.no_grad():
        image_ID = loaded.ordered(loaded.image_tokens(pixels, layout.shapes_N2), layout.place_I, layout.weight_I)
        asked = {"inputs_embeds": laid(loaded.get_input_embeddings()(ids_T), image_ID, layout.image_I)[None]}
        mine, theirs = model(**asked).logits, loaded(**asked).logits
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)
        if mode == "square":
            asked = {"input_ids": ids_T[None], "pixel_values": pixels}
            torch.testing.assert_close(model(**asked).logits, mine, atol=1e-5, rtol=1e-5)
            plain_class_agrees(model, tmp_path / "checkpoint", asked, mine)
        answers_are_the_same_with_and_without_cache(loaded, asked)


def train_one_step(
    model: TinyLlava,
    recipe: str,
    opened: dict[str, int],
    connector: str,
    packs: list[tuple[Any, ...]],
) -> None:
    """One optimizer step: just the opened parts move, and all of each."""
    if connector == "identity" and not model.config.newline:  # anyres has an embedding in the connector to train
        opened = {part: first for part, first in opened.items() if part != "connector"}
    sections = {"connector": {"trainable_from_layer": None}}
    sections |= {part: {"trainable_from_layer": first} for part, first in opened.items()}
    if not opened:
        return identity_has_nothing_to_train(model)
    training = Training.parse({"mix": [{"source": "x"}], "global_batch": 1, "lr": 1e-2} | sections, "test")
    model.zero_grad(set_to_none=True)
    trainable.choose(model, training)
    before = trainable.tensor_digests(model)
    optimizer = torch.optim.AdamW(trainable.groups(model, training))
    for one in packs:
        losses = model.supervised_losses(*one)
        assert losses.isfinite().all()
        losses.sum().backward()
        if not len(
            one[3]
        ):  # a rank without images has the same graph: what is trained in front gets a gradient, of zeros
            front = [p for name, p in model.named_parameters() if "language" not in name and "lm_head" not in name]
            assert all(p.grad is not None and not p.grad.any() for p in front if p.requires_grad)
    optimizer.step()
    moved = {name for name, digest in trainable.tensor_digests(model).items() if digest != before[name]}
    assert not trainable.not_as_wanted(trainable.part_rows(model, training, moved), recipe)
    return None


def identity_has_nothing_to_train(model: TinyLlava) -> None:
    with pytest.raises(BadInput, match=r"connector\.trainable_from_layer = 0: the connector part has nothing to train"):
        trainable.choose(model, Training.parse({"mix": [{"source": "x"}], "global_batch": 1, "lr": 1e-2}, "test"))


@torch.no_grad()
def records_do_not_see_each_other(model: TinyLlava, scheme: Scheme, together: tuple[Any, ...]) -> None:
    """The second record's losses are those that it has alone."""
    ids_T, position_T, record_T, pixels, labels_T, layout = together
    second = record_T == 1
    one = ids_T[second], record_T[second] - 1, labels_T[second]
    own, first = Layout.of(*one, matrix.IMAGE_ID), scheme.cut(*SIZES[0])
    if layout.place_I is not None:
        place_I = layout.place_I[first.tokens :]
        own = dataclasses.replace(
            own,
            place_I=torch.where(
                place_I < 0, place_I, place_I - first.num_tiles * (scheme.max_windows or scheme.tokens)
            ),
            shapes_N2=None if layout.shapes_N2 is None else layout.shapes_N2[first.num_tiles :],
        )
    alone = model.supervised_losses(one[0], position_T[second], one[1], pixels[first.num_tiles :], one[2], own)
    torch.testing.assert_close(model.supervised_losses(*together)[-len(alone) :], alone, atol=1e-5, rtol=1e-5)


def plain_class_agrees(model: TinyLlava, folder: Path, asked: dict[str, Tensor], mine: Tensor) -> None:
    """Where transformers' own class holds the model, its logits are ours."""
    if checkpoint.why_not_plain_llava(model) is not None:
        return
    plain, report = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    torch.testing.assert_close(plain.eval()(**asked).logits, mine, atol=1e-5, rtol=1e-5)


def answers_are_the_same_with_and_without_cache(model: TinyLlava, asked: dict[str, Tensor]) -> None:
    model.generation_config = GenerationConfig(
        max_new_tokens=3, do_sample=False, suppress_tokens=[matrix.IMAGE_ID], pad_token_id=0
    )
    answers = [model.generate(**asked, use_cache=cached) for cached in (True, False)]
    assert torch.equal(answers[0], answers[1])


@pytest.mark.parametrize("connector", sorted(WITHOUT_GRID | {"mixture-mlp"}))
def test_what_cannot_be_put_together_is_refused_with_the_reason(connector: str, tokenizer: Path) -> None:
    vision = "tiny-siglip" if connector == "mixture-mlp" else "tiny-mixture"
    with pytest.raises(BadInput, match=r"needs (a mixture of two encoders|patches on a square)"):
        Model.parse({"vision": vision, "connector": connector, "language": "tiny-llama"}, "test")
