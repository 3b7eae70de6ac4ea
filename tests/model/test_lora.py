"""Adapters live through everything: put on, trained, stored, taken up, trained on, merged, exported; the logits say so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from model import matrix
from safetensors.torch import load_file
from tiny import make_tokenizer
from torch import Tensor

from tinyllava_core.errors import BadInput
from tinyllava_core.estimate.part_counts import part_counts
from tinyllava_core.export.__main__ import export
from tinyllava_core.model import checkpoint, lora, trainable
from tinyllava_core.model.assemble import skeleton
from tinyllava_core.model.tinyllava import TinyLlava, part_of
from tinyllava_core.settings.model import Model
from tinyllava_core.settings.training import Lora, Training

SMALL = Lora(rank=4, alpha=8, dropout=0.0)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer(folder)
    with pytest.MonkeyPatch.context() as patch:
        matrix.add_rows(patch, folder)
        yield folder


@pytest.fixture(params=list(matrix.FAMILIES))
def model(request: pytest.FixtureRequest, tokenizer: Path) -> Iterator[TinyLlava]:
    """Every family; its layers are made plain again, because the model is shared."""
    made = matrix.make(matrix.choice("tiny-siglip", "mlp", request.param))
    yield made
    lora.merge(made)


def training(first: int = 0, **fields: object) -> Training:
    language = {"trainable_from_layer": first, "lora": SMALL.model_dump() | fields}
    return Training.parse({"mix": [{"source": "x"}], "global_batch": 1, "lr": 1e-2, "language": language}, "test")


def pack() -> tuple[Tensor, ...]:
    ids = torch.arange(10, 22)
    return ids, torch.arange(12), torch.zeros(12, dtype=torch.long), torch.zeros(0, 3, 32, 32), ids


def train(model: TinyLlava, stage: Training, steps: int) -> None:
    model.zero_grad(set_to_none=True)
    trainable.choose(model, stage)
    optimizer = torch.optim.AdamW(trainable.groups(model, stage))
    for _ in range(steps):
        optimizer.zero_grad()
        model.supervised_losses(*pack()).sum().backward()
        optimizer.step()


@torch.no_grad()
def logits(model: TinyLlava) -> Tensor:
    found: Tensor = model(input_ids=pack()[0][None]).logits
    return found


def stored(model: TinyLlava, folder: Path, tokenizer: Path) -> TinyLlava:
    choice = Model(vision="tiny-siglip", language="tiny-llama")
    checkpoint.save(model, choice, "short", tokenizer, folder)
    return checkpoint.load(folder).model


def test_an_adapter_computes_what_the_paper_says() -> None:
    torch.manual_seed(0)
    linear = torch.nn.Linear(3, 2)
    layer = lora.LoraLinear.around(linear, Lora(rank=1, alpha=4, dropout=0.0))
    inputs = torch.tensor([[1.0, 2.0, 3.0]])
    assert torch.equal(layer(inputs), linear(inputs))  # up is 0
    with torch.no_grad():
        layer.lora_down.copy_(torch.tensor([[1.0, 0.0, 2.0]]))  # down x = 7
        layer.lora_up.copy_(torch.tensor([[1.0], [-1.0]]))  # 4 / 1 * 7 = 28
    expected = linear(inputs).detach() + torch.tensor([[28.0, -28.0]])
    torch.testing.assert_close(layer(inputs), expected)
    torch.testing.assert_close(layer.merged()(inputs), expected)


def test_adapters_live_through_everything(model: TinyLlava, tokenizer: Path, tmp_path: Path) -> None:
    stage, plain = training(), logits(model)
    lora.start(model, stage.language.lora, 0, seed=1)
    assert torch.equal(logits(model), plain)  # put on, they change nothing
    before = trainable.tensor_digests(model)
    train(model, stage, steps=2)
    moved = {name for name, digest in trainable.tensor_digests(model).items() if digest != before[name]}
    sections = trainable.part_rows(model, stage, moved)
    assert {name for name in moved if part_of(name) == "language"} == {n for n in before if lora.MARK in n}
    assert sections[2].num_tensors_moved == sections[2].num_tensors_trained > 0
    assert not torch.allclose(logits(model), plain, atol=1e-3)

    again = stored(model, tmp_path / "checkpoint", tokenizer)
    assert torch.equal(logits(again), logits(model))  # reloaded
    assert lora.adapted(again) == SMALL
    assert not any(lora.MARK in name for name in load_file(tmp_path / "checkpoint" / "model.safetensors"))

    lora.start(again, SMALL, 0, seed=99)
    train(again, stage, steps=1)
    train(model, stage, steps=1)
    assert torch.equal(logits(again), logits(model))  # continued, as if never stored

    with_adapters = logits(model)
    lora.merge(model)
    torch.testing.assert_close(logits(model), with_adapters, atol=2e-5, rtol=1e-5)
    assert lora.adapted(model) is None
    assert not any(lora.MARK in name for name in model.state_dict())


def test_a_stage_without_adapters_or_with_others_starts_from_the_merged_model(tokenizer: Path) -> None:
    model = matrix.make(matrix.choice("tiny-siglip", "mlp", "llama"))
    lora.start(model, SMALL, 0, seed=1)
    train(model, training(), steps=2)
    trained = logits(model)
    lora.start(model, Lora(rank=2, alpha=8, dropout=0.0), 0, seed=1)
    assert lora.adapted(model) == Lora(rank=2, alpha=8, dropout=0.0)
    torch.testing.assert_close(logits(model), trained, atol=2e-5, rtol=1e-5)
    lora.start(model, None, 0, seed=1)
    assert lora.adapted(model) is None
    torch.testing.assert_close(logits(model), trained, atol=2e-5, rtol=1e-5)


def test_adapters_begin_at_the_block_that_the_stage_names(tokenizer: Path) -> None:
    model = matrix.make(matrix.choice("tiny-siglip", "mlp", "llama"))
    lora.start(model, SMALL, 1, seed=1)
    blocks = {name.split(".layers.")[1].split(".")[0] for name in model.state_dict() if lora.MARK in name}
    lora.merge(model)
    assert blocks == {"1"}


def test_adapters_of_other_blocks_than_the_stage_names_are_merged_and_new_ones_put_on(tokenizer: Path) -> None:
    """The stage before adapted block 1 alone: one that trains from block 0 on would leave block 0 as it is."""
    model = matrix.make(matrix.choice("tiny-siglip", "mlp", "llama"))
    lora.start(model, SMALL, 1, seed=1)
    train(model, training(1), steps=2)
    trained = logits(model)
    lora.start(model, SMALL, 0, seed=1)
    assert {name.split(".layers.")[1].split(".")[0] for name in model.state_dict() if lora.MARK in name} == {"0", "1"}
    torch.testing.assert_close(logits(model), trained, atol=2e-5, rtol=1e-5)


def test_an_export_is_merged_and_plain(tokenizer: Path, tmp_path: Path) -> None:
    model = matrix.make(matrix.choice("tiny-siglip", "mlp", "llama"))
    lora.start(model, SMALL, 0, seed=1)
    train(model, training(), steps=2)
    stored(model, tmp_path / "checkpoint", tokenizer)
    lora.merge(model)
    config = json.loads((tmp_path / "checkpoint" / "config.json").read_text())
    assert config["model_type"] == "tinyllava"  # without its adapters it would be another model
    result = export(tmp_path / "checkpoint", tmp_path / "hf")
    assert result.max_logit_difference < 1e-5
    assert not list((tmp_path / "hf").glob("adapter*"))
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["model_type"] == "llava"


@pytest.mark.parametrize("first", [0, 12])
def test_their_number_is_known_beforehand(first: int) -> None:
    """Phi-2, rank 128: q, k, v, dense 2560 x 2560, fc1 and fc2 2560 x 10240: 128 x (4 x 5120 + 2 x 12800) a block."""
    parts, stage = Model(vision="toy-vit", language="phi-2"), training(first, rank=128, alpha=256)
    row = part_counts(parts, stage)[2]
    assert row.num_trained == (32 - first) * 128 * (4 * 5120 + 2 * 12800)
    model = skeleton(parts)
    with torch.device("meta"):
        lora.start(model, stage.language.lora, first, seed=0)
    trainable.choose(model, stage)
    mine = [p for name, p in model.named_parameters() if part_of(name) == "language"]
    assert row.num_parameters == sum(p.numel() for p in mine)
    assert row.num_trained == sum(p.numel() for p in mine if p.requires_grad)


def test_what_has_no_effect_or_does_not_fit_is_refused(tokenizer: Path, tmp_path: Path) -> None:
    stage = {"mix": [{"source": "x"}], "global_batch": 1, "lr": 1e-2}
    with pytest.raises(BadInput, match=r"language\.lora has no effect on a frozen language model"):
        Training.parse(stage | {"language": {"lora": {"rank": 4}}}, "test")
    with pytest.raises(BadInput, match="lora"):
        Training.parse(stage | {"vision": {"trainable_from_layer": 0, "lora": {"rank": 4}}}, "test")
    model = matrix.make(matrix.choice("tiny-siglip", "mlp", "llama"))
    lora.start(model, SMALL, 0, seed=1)
    lora.save(model, tmp_path)
    lora.merge(model)
    other = matrix.make(matrix.choice("tiny-siglip", "mlp", "phi"))
    with pytest.raises(BadInput, match="adapters of layers that the model does not have"):
        lora.load(other, tmp_path)
