"""What admits a row to the tables: a pack of three records is each record alone, losses and gradients, on tiny random weights."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from model import matrix
from tiny import make_tokenizer
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, DINOv3ViTConfig, DINOv3ViTModel, GenerationConfig

from tinyllava_core.errors import BadInput
from tinyllava_core.model import checkpoint, mixers
from tinyllava_core.model.records import Records
from tinyllava_core.model.tinyllava import Head, TinyLlava
from tinyllava_core.model.vision.states import patches
from tinyllava_core.parts import LANGUAGES
from tinyllava_core.tokenizer import IGNORE

FOUR = {"num_hidden_layers": 4, "tie_word_embeddings": True}
FAMILIES: dict[str, dict[str, Any]] = {
    "gemma3_text": FOUR | {"head_dim": 16, "sliding_window": 8},
    "smollm3": FOUR | {"no_rope_layers": [1, 1, 1, 0]},
    "granite": FOUR
    | {"logits_scaling": 8.0, "embedding_multiplier": 12.0, "residual_multiplier": 0.22, "attention_multiplier": 0.1},
    "olmo2": {"num_key_value_heads": 2},
    "phi3": FOUR | {"partial_rotary_factor": 0.75},
    "lfm2": FOUR
    | {"layer_types": ["conv", "full_attention", "conv", "full_attention"], "block_auto_adjust_ff_dim": False},
    "qwen3_5_text": FOUR
    | {
        "head_dim": 16,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "layer_types": ["linear_attention", "linear_attention", "linear_attention", "full_attention"],
    },
    "granitemoehybrid": FOUR
    | {
        "layer_types": ["mamba", "attention", "mamba", "attention"],
        "mamba_n_heads": 4,
        "mamba_d_head": 16,
        "mamba_d_state": 8,
        "mamba_n_groups": 1,
        "num_local_experts": 0,
        "shared_intermediate_size": 64,
        "logits_scaling": 8.0,
    },
}
ALL = FAMILIES | {config["model_type"]: config for config in matrix.FAMILIES.values()}  # with those of the paper's time
HYBRIDS = ("lfm2", "qwen3_5_text", "granitemoehybrid")
LENGTHS = (13, 9, 17)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    make_tokenizer(tmp_path / "tokenizer")
    monkeypatch.setitem(matrix.FAMILIES, "asked", {})

    def model(family: str) -> TinyLlava:
        matrix._MADE.clear()
        monkeypatch.setitem(matrix.FAMILIES, "asked", matrix._LANGUAGE | {"model_type": family} | ALL[family])
        matrix.add_rows(monkeypatch, tmp_path / "tokenizer")
        return matrix.make(matrix.choice("tiny-siglip", "mlp", "asked"))

    return model


def pack() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Three records, the first and the last with a picture of 16 tokens, of so many words each."""
    draw = torch.Generator().manual_seed(1)
    ids, position, record = [], [], []
    for number, length in enumerate(LENGTHS):
        words = torch.randint(3, matrix.VOCABULARY, (length,), generator=draw).tolist()
        one = [matrix.IMAGE_ID] * (16 if number != 1 else 0) + words
        ids += one
        position += range(len(one))
        record += [number] * len(one)
    ids_T, record_T = torch.tensor(ids), torch.tensor(record)
    labels_T = torch.where((ids_T == matrix.IMAGE_ID) | (torch.tensor(position) == 0), IGNORE, ids_T)
    return ids_T, torch.tensor(position), record_T, torch.randn(2, 3, 32, 32, generator=draw), labels_T


def alone(of: tuple[Tensor, ...], number: int) -> tuple[Tensor, ...]:
    ids_T, position_T, record_T, pixels, labels_T = of
    mine = record_T == number
    seen = {0: pixels[:1], 1: pixels[:0], 2: pixels[1:]}[number]
    return ids_T[mine], position_T[mine], record_T[mine] - number, seen, labels_T[mine]


def gradients(model: TinyLlava) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", ALL)
def test_a_pack_of_three_is_each_alone_in_losses_and_gradients(family: str, make: Any, tmp_path: Path) -> None:
    model, of = make(family), pack()
    together = model.supervised_losses(*of)
    together.sum().backward()
    whole = gradients(model)
    model.zero_grad(set_to_none=True)
    single = [model.supervised_losses(*alone(of, number)) for number in range(3)]
    torch.testing.assert_close(torch.cat(single), together, atol=1e-5, rtol=1e-5)
    torch.cat(single).sum().backward()
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(
            gradient, whole[name], atol=1e-4 * float(whole[name].abs().max() + 1), rtol=1e-4, msg=name
        )
    it_comes_back_whole_and_answers_the_same_with_a_cache_and_without(model, of, tmp_path)


def it_comes_back_whole_and_answers_the_same_with_a_cache_and_without(
    model: TinyLlava, of: tuple[Tensor, ...], tmp_path: Path
) -> None:
    parts = matrix.choice("tiny-siglip", "mlp", "asked")
    checkpoint.save(model, parts, "short", tmp_path / "tokenizer", tmp_path / "checkpoint")
    loaded = checkpoint.load(tmp_path / "checkpoint").model
    ids_T, _, _, pixels, _ = alone(of, 0)
    asked = {"input_ids": ids_T[None], "pixel_values": pixels}
    with torch.no_grad():
        torch.testing.assert_close(loaded(**asked).logits, model(**asked).logits, atol=1e-5, rtol=1e-5)
        how = {"do_sample": False, "suppress_tokens": [matrix.IMAGE_ID], "pad_token_id": 0, "max_new_tokens": 3}
        loaded.generation_config = GenerationConfig(**how)
        answers = [loaded.generate(**asked, use_cache=cached) for cached in (True, False)]
    assert torch.equal(answers[0], answers[1])


@pytest.mark.parametrize("family", FAMILIES)
def test_our_head_gives_the_logits_of_the_familys_own_class(family: str) -> None:
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **(matrix._LANGUAGE | FAMILIES[family]))
    theirs = AutoModelForCausalLM.from_config(config).eval()
    ours = Head(config, bias=theirs.get_output_embeddings().bias is not None)
    ours.load_state_dict(theirs.get_output_embeddings().state_dict())
    ids = torch.arange(5)[None]
    with torch.no_grad():
        hidden = theirs.base_model(input_ids=ids).last_hidden_state
        torch.testing.assert_close(ours(hidden), theirs(input_ids=ids).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", HYBRIDS)
def test_a_hybrid_would_leak_if_it_were_not_split(family: str, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixers, "split_by_record", lambda language: None)
    model, of = make(family), pack()
    with torch.no_grad():
        together, second = model.supervised_losses(*of), model.supervised_losses(*alone(of, 1))
    mine = slice(LENGTHS[0] - 1 + 1, None)
    assert (together[mine][: len(second)] - second).abs().max() > 0.01


def test_a_copy_of_a_split_layer_is_its_own(make: Any) -> None:
    model = make("lfm2")
    mixers.split_by_record(model.model.language_model)
    mixers.split_by_record(model.model.language_model)
    layer = model.model.language_model.layers[0].conv
    other = copy.deepcopy(layer)
    hidden, records = torch.randn(1, 7, matrix.WIDTH), Records.lying((3, 4), torch.device("cpu"))
    with torch.no_grad():
        torch.testing.assert_close(other(hidden, records=records)[:, 3:], layer(hidden[:, 3:]))
        other.conv.weight.zero_()
        assert not torch.equal(other(hidden), layer(hidden))


def test_a_hybrid_that_is_not_known_is_refused_with_its_layers() -> None:
    config = AutoConfig.for_model("lfm2", **(matrix._LANGUAGE | FAMILIES["lfm2"]))
    mixers.check_known(config, "x")
    config.model_type = "newcomer"
    with pytest.raises(
        BadInput, match="language model 'x': its layers of type conv carry a state from one packed record"
    ):
        mixers.check_known(config, "x")


def test_every_row_is_of_a_family_that_was_admitted() -> None:
    for name, row in LANGUAGES.items():
        assert row.config is None or row.config["model_type"] in ALL, name


def test_a_frozen_encoder_sees_a_picture_the_same_way_twice_in_training(make: Any) -> None:
    config = DINOv3ViTConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, patch_size=8, image_size=32,
        num_register_tokens=4, pos_embed_rescale=2.0,
    )  # fmt: skip
    model, pixels = make("olmo2"), torch.randn(1, 3, 32, 32)
    model.model.vision_tower = DINOv3ViTModel(config)
    model.train()
    first, second = (patches(model.model.vision_tower, pixels, -1, 5) for _ in range(2))
    assert not torch.equal(first, second)  # it is trained: its own way
    model.model.vision_tower.requires_grad_(False)
    model.train()
    first, second = (patches(model.model.vision_tower, pixels, -1, 5) for _ in range(2))
    assert torch.equal(first, second)
    assert first.shape == (1, 16, 16)
    assert model.model.language_model.training
