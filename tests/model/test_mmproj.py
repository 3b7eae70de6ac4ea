"""llama.cpp's file for the eye: what its graph (tools/mtmd/models/llava.cpp) computes with it, here in numpy, is what transformers computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from torch import nn
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, SiglipVisionConfig

from tinyllava_core.errors import BadInput
from tinyllava_core.export.mmproj import main, write_mmproj

SIZE = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 24,
    "patch_size": 8,
}
LANGUAGE = LlamaConfig(
    hidden_size=24, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=40, pad_token_id=0
)


def llava(folder: Path, vision: Any, **more: Any) -> LlavaForConditionalGeneration:
    torch.manual_seed(1)
    model = LlavaForConditionalGeneration(
        LlavaConfig(vision_config=vision, text_config=LANGUAGE, image_token_index=3, **more)
    )
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    model.eval().save_pretrained(folder)
    card(folder, "pad", [0.48145466, 0.4578275, 0.40821073])
    return model


def card(folder: Path, image_mode: str, mean: list[float]) -> None:
    told = {"vision": {"mean": mean, "std": [0.2, 0.3, 0.25]}, "image_mode": image_mode}
    (folder / "tinyllava_export.json").write_text(json.dumps(told))


def graph(file: Path, image_3HW: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Compute what llama.cpp does -> a row for each patch. Read from its source on 2026-11-28, not from this package."""
    reader = gguf.GGUFReader(file)
    t = {one.name: np.array(one.data, np.float64).reshape(one.shape[::-1]) for one in reader.tensors}
    told = {name: field.contents() for name, field in reader.fields.items()}
    eps, heads = told["clip.vision.attention.layer_norm_epsilon"], told["clip.vision.attention.head_count"]

    def gelu(x: Any) -> Any:
        return x * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))

    def norm(x: Any, name: str) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        unit = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
        return unit * t[f"{name}.weight"] + t[f"{name}.bias"]

    def linear(x: Any, name: str) -> Any:
        return x @ t[f"{name}.weight"].T + t[f"{name}.bias"]

    patch, side = told["clip.vision.patch_size"], image_3HW.shape[1] // told["clip.vision.patch_size"]
    cut = image_3HW.reshape(3, side, patch, side, patch).transpose(1, 3, 0, 2, 4).reshape(side * side, -1)
    x = cut @ t["v.patch_embd.weight"].reshape(len(t["v.patch_embd.weight"]), -1).T + t.get("v.patch_embd.bias", 0)
    if "v.class_embd" in t:
        x = np.concatenate([t["v.class_embd"].reshape(1, -1), x])
    x = x + t["v.position_embd.weight"]
    if "v.pre_ln.weight" in t:
        x = norm(x, "v.pre_ln")
    (deepest,) = told["clip.vision.feature_layer"]
    for number in range(deepest):
        block = f"v.blk.{number}"
        y = norm(x, f"{block}.ln1")
        q, k, v = (
            linear(y, f"{block}.attn_{one}").reshape(len(x), heads, -1).transpose(1, 0, 2) for one in ("q", "k", "v")
        )
        score = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])
        score = np.exp(score - score.max(-1, keepdims=True))
        seen = (score / score.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(len(x), -1)
        x = x + linear(seen, f"{block}.attn_out")
        up = linear(norm(x, f"{block}.ln2"), f"{block}.ffn_up")
        up = gelu(up) if told["clip.use_gelu"] else up / (1 + np.exp(-1.702 * up))
        x = x + linear(up, f"{block}.ffn_down")
    patches = x[-side * side :]  # a leading class token is not read
    return linear(gelu(linear(patches, "mm.0")), "mm.2")


@pytest.mark.parametrize("layer", [-2, -1])
@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_llama_cpps_graph_gives_the_tokens_that_transformers_gives(kind: str, layer: int, tmp_path: Path) -> None:
    vision = CLIPVisionConfig(**SIZE) if kind == "clip" else SiglipVisionConfig(**SIZE)
    chosen = {"vision_feature_layer": layer, "vision_feature_select_strategy": "default" if kind == "clip" else "full"}
    model = llava(tmp_path / "hf", vision, **chosen)
    assert write_mmproj(tmp_path / "hf", tmp_path / "mmproj.gguf") == ""
    image = np.random.default_rng(0).normal(size=(3, 24, 24))
    with torch.no_grad():
        features: Any = model.get_image_features(pixel_values=torch.tensor(image[None], dtype=torch.float32), **chosen)
    theirs = torch.cat(tuple(getattr(features, "pooler_output", features))).numpy().reshape(9, -1)
    mine = graph(tmp_path / "mmproj.gguf", image)
    # their connector's gelu is llama.cpp's own, by a tanh
    assert np.abs(mine - theirs).max() < 5e-3 * np.abs(theirs).max()
    told = gguf.GGUFReader(tmp_path / "mmproj.gguf").fields
    assert np.allclose(told["clip.vision.image_mean"].contents(), [0.48145466, 0.4578275, 0.40821073])
    card(tmp_path / "hf", "pad", [0.5, 0.5, 0.5])
    assert "trained with the mean of its own encoder" in write_mmproj(tmp_path / "hf", tmp_path / "other.gguf")
    card(tmp_path / "hf", "square", [0.48145466, 0.4578275, 0.40821073])
    assert "trained with image_mode=square" in write_mmproj(tmp_path / "hf", tmp_path / "other.gguf")


def test_what_llama_cpp_would_compute_otherwise_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    llava(tmp_path / "hf", SiglipVisionConfig(**SIZE), vision_feature_select_strategy="default")
    wrong = {
        "nowhere": "no config.json; expected a folder that `export=hf-llava` or `vllm-llava` wrote",
        "hf": "'default' of the siglip_vision_model's places are read; llama.cpp reads the patches, all of them",
    }
    capsys.readouterr()
    for name, expected in wrong.items():
        assert main(["mmproj", str(tmp_path / name), str(tmp_path / "mmproj.gguf")]) == 2
        assert capsys.readouterr().err == f"error: {tmp_path / name}: {expected}\n"
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    for changed, expected in (
        ({"projector_hidden_act": "relu"}, "its connector is no two-layer MLP with gelu"),
        ({"vision_feature_layer": [-2, -1]}, "reads one state"),
        ({"model_type": "llava_next"}, "a llava_next, expected transformers' Llava class"),
    ):
        told = config | {"vision_feature_select_strategy": "full"} | changed
        (tmp_path / "hf" / "config.json").write_text(json.dumps(told))
        with pytest.raises(BadInput, match=expected):
            write_mmproj(tmp_path / "hf", tmp_path / "mmproj.gguf")
    assert list(tmp_path.glob("*mmproj*")) == []


def test_a_folder_that_is_not_whole_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    llava(tmp_path / "hf", SiglipVisionConfig(**SIZE), vision_feature_select_strategy="full")
    next((tmp_path / "hf").glob("*.safetensors")).unlink()
    with pytest.raises(BadInput, match=r"of its tensors are missing \(the first: embeddings\.patch_embedding\.bias\)"):
        write_mmproj(tmp_path / "hf", tmp_path / "mmproj.gguf")
    assert list(tmp_path.glob("*mmproj*")) == []
