"""A GGUF file, written here by the package gguf as llama.cpp's converter writes it, becomes a folder with the same model in it."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from tokenizer_families import qwen2_instruct
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from tinyllava_core.errors import BadInput
from tinyllava_core.model.foreign.gguf import bring_language
from tinyllava_core.model.foreign.importer import main
from tinyllava_core.parts.language import language_row

TEXT = "what colour is the cat? 2 cats, 5 dogs"
SIZE = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}


def write(
    file: Path,
    model: Qwen2ForCausalLM,
    tokenizer: Path,
    kind: gguf.GGMLQuantizationType | None = None,
    without: str | None = None,
) -> None:
    """Write model and tokenizer; matrices quantized to `kind`, if it is given; one tensor left out."""
    config, pieces = model.config, json.loads((tokenizer / "tokenizer.json").read_text())
    writer = gguf.GGUFWriter(file, "qwen2")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    vocabulary = pieces["model"]["vocab"] | {one["content"]: one["id"] for one in pieces["added_tokens"]}
    special = {one["content"] for one in pieces["added_tokens"]}
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if one in special else gguf.TokenType.NORMAL for one in tokens])
    writer.add_token_merges([" ".join(pair) for pair in pieces["model"]["merges"]])
    writer.add_eos_token_id(vocabulary["<|im_end|>"])
    writer.add_pad_token_id(vocabulary["<|endoftext|>"])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if name == without:
            continue
        values = tensor.numpy()
        packed = gguf.quants.quantize(values, kind) if kind is not None and values.ndim == 2 else values
        writer.add_tensor(
            names.get_name(name, (".weight", ".bias")), packed, raw_dtype=kind if packed is not values else None
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    return qwen2_instruct(tmp_path / "tokenizer")


@pytest.fixture
def model(tokenizer: Path) -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    size = json.loads((tokenizer / "tokenizer.json").read_text())
    vocab = len(size["model"]["vocab"]) + sum(
        one["content"] not in size["model"]["vocab"] for one in size["added_tokens"]
    )
    return Qwen2ForCausalLM(Qwen2Config(vocab_size=vocab, num_key_value_heads=2, rms_norm_eps=1e-5, **SIZE)).eval()


def test_a_gguf_becomes_a_folder_of_the_same_model_which_a_recipe_takes(
    tmp_path: Path, model: Qwen2ForCausalLM, tokenizer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "small.gguf", model, tokenizer)
    assert main([str(tmp_path / "small.gguf"), "--out", str(tmp_path / "small")]) == 0
    assert f"a language model (qwen2), for model.language={tmp_path / 'small'}" in capsys.readouterr().out
    again, words = (
        AutoModelForCausalLM.from_pretrained(tmp_path / "small"),
        AutoTokenizer.from_pretrained(tmp_path / "small"),
    )
    ids = AutoTokenizer.from_pretrained(tokenizer)(TEXT).input_ids
    assert words(TEXT).input_ids == ids
    assert again.config.rms_norm_eps == 1e-5  # 9.999999747378752e-06 in the file
    with torch.no_grad():
        torch.testing.assert_close(again(torch.tensor([ids])).logits, model(torch.tensor([ids])).logits)
    row = language_row(str(tmp_path / "small"))
    assert (row.weights, row.width) == (str(tmp_path / "small"), 64)


def test_quantized_weights_come_back_as_the_numbers_that_they_stand_for(
    tmp_path: Path, model: Qwen2ForCausalLM, tokenizer: Path
) -> None:
    """Q8_0: blocks of 32 numbers as whole numbers up to 127 times the block's greatest over 127."""
    write(tmp_path / "small.gguf", model, tokenizer, gguf.GGMLQuantizationType.Q8_0)
    bring_language(tmp_path / "small.gguf", tmp_path / "small")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "small").state_dict()
    name = "model.layers.1.mlp.up_proj.weight"
    blocks = model.state_dict()[name].numpy().reshape(-1, 32)
    scales = (np.abs(blocks).max(axis=1, keepdims=True) / 127).astype(np.float16).astype(np.float32)
    found = again[name].numpy().reshape(-1, 32) / scales
    np.testing.assert_allclose(found, np.round(found), atol=1e-3)
    assert np.abs(again[name].numpy().reshape(-1, 32) - blocks).max() <= 0.51 * scales.max()


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "no such file"), (b"GGUF no more", "transformers does not read this GGUF")],
)
def test_what_is_no_gguf_is_one_line(
    content: bytes | None, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "small.gguf").write_bytes(content)
    assert main([str(tmp_path / "small.gguf"), "--out", str(tmp_path / "small")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {tmp_path / 'small.gguf'}: {told}")
    assert not (tmp_path / "small").exists()


def test_a_file_that_lacks_a_tensor_is_refused_rather_than_filled_with_noise(
    tmp_path: Path, model: Qwen2ForCausalLM, tokenizer: Path
) -> None:
    write(tmp_path / "small.gguf", model, tokenizer, without="model.layers.1.mlp.up_proj.weight")
    with pytest.raises(BadInput, match=r"1 tensors of the model are not in it \(the first: model.layers.1.mlp.up_proj"):
        bring_language(tmp_path / "small.gguf", tmp_path / "small")


def test_without_the_package_it_says_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main([str(tmp_path / "small.gguf"), "--out", str(tmp_path / "small")]) == 2
    assert "pip install 'tinyllava-pipelines[gguf]'" in capsys.readouterr().err
