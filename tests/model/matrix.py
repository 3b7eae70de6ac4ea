"""Tiny rows for every kind of encoder and every family of language models: two or three layers, 32 wide, random weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from tinyllava_core import parts
from tinyllava_core.model.assemble import published
from tinyllava_core.model.connector import Newline, build
from tinyllava_core.model.tinyllava import TinyLlava, part_of
from tinyllava_core.parts import CONNECTORS, LANGUAGES, VISIONS, Language, Vision, architecture
from tinyllava_core.settings.model import Model

WIDTH, VOCABULARY, IMAGE_ID = 32, 400, 2
_ENCODER = {"hidden_size": WIDTH, "num_hidden_layers": 3, "num_attention_heads": 2, "patch_size": 8, "image_size": 32}
_WIDE = {"intermediate_size": 64}
ENCODERS: dict[str, dict[str, Any]] = {
    "tiny-clip": {"model_type": "clip_vision_model", "projection_dim": 16} | _ENCODER | _WIDE,
    "tiny-siglip": {"model_type": "siglip_vision_model"} | _ENCODER | _WIDE,
    "tiny-naflex": {"model_type": "siglip2_vision_model", "num_patches": 16}
    | {key: value for key, value in _ENCODER.items() if key != "image_size"}
    | _WIDE,
    "tiny-dinov2": {"model_type": "dinov2"}
    | _ENCODER
    | {"image_size": 40},  # positions are interpolated, as in the real one
    "tiny-aimv2": {"model_type": "aimv2_vision_model"} | _ENCODER | _WIDE,
    "tiny-dinov3": {"model_type": "dinov3_vit", "num_register_tokens": 4} | _ENCODER | _WIDE | {"patch_size": 16},
    "tiny-mixture": {},
    "tiny-mixture-3": {},  # its second member's patches are larger, as in the real one
}
_LANGUAGE = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
    "initializer_range": 0.2,
}
_GEMMA = {"head_dim": 16, "tie_word_embeddings": True}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": _LANGUAGE | {"model_type": "llama"},
    "stablelm": _LANGUAGE
    | {"model_type": "stablelm", "num_key_value_heads": 2, "use_qkv_bias": True, "partial_rotary_factor": 0.25},
    "phi": _LANGUAGE | {"model_type": "phi", "num_key_value_heads": 2, "partial_rotary_factor": 0.5},
    "gemma": _LANGUAGE | _GEMMA | {"model_type": "gemma"},
    "gemma2": _LANGUAGE
    | _GEMMA
    | {
        "model_type": "gemma2",
        "query_pre_attn_scalar": 16,
        "sliding_window": 8,
        "attn_logit_softcapping": 5.0,
        "final_logit_softcapping": 3.0,
    },
    "qwen2": _LANGUAGE | {"model_type": "qwen2", "tie_word_embeddings": True},
    "qwen3": _LANGUAGE | {"model_type": "qwen3", "head_dim": 16},
}
_MADE: dict[tuple[str, ...], tuple[TinyLlava, dict[str, torch.Tensor]]] = {}
MIXTURES = {"tiny-mixture": ("tiny-clip", "tiny-dinov2"), "tiny-mixture-3": ("tiny-clip", "tiny-dinov3")}
OPTIONS = {
    "resampler": {"connector_queries": 4},
    "qformer": {"connector_queries": 4},
    "conv-abstractor": {"connector_queries": 4},
}


def add_rows(patch: pytest.MonkeyPatch, tokenizer: Path) -> None:
    """Put the tiny rows into the tables for the length of a test."""
    half = (0.5, 0.5, 0.5)
    for name, config in ENCODERS.items():
        one = Vision(
            weights="",
            image_size=32,
            patch_size=config.get("patch_size", 8),
            width=WIDTH,
            num_layers=3,
            num_class_tokens={"tiny-clip": 1, "tiny-dinov2": 1, "tiny-dinov3": 5}.get(name, 0),
            mean=half,
            std=half,
            mixture=MIXTURES.get(name, ()),
            any_shape=name in ("tiny-siglip", "tiny-naflex"),
        )
        patch.setitem(VISIONS, name, one)
        patch.setitem(architecture.VISION_CONFIGS, name, config)
    for name, config in FAMILIES.items():
        row = Language(weights=str(tokenizer), width=WIDTH, num_layers=2, prompt="short", config=config)
        patch.setitem(LANGUAGES, f"tiny-{name}", row)
    small = {"qformer": {"hidden": WIDTH, "layers": 2}, "resampler": {"layers": 1}, "conv-abstractor": {"layers": 1}}
    for kind, fields in small.items():
        patch.setitem(parts.CONNECTORS, kind, dataclasses.replace(CONNECTORS[kind], **fields))


MODES: dict[str, dict[str, Any]] = {
    "square": {},
    "tiles": {"tiling": {"long_side": 64, "upscale": False}},
    "dynamic": {"tiling": {"max_tiles": 3}},
    "anyres": {"tiling": {"grids": [[1, 2], [2, 1]]}},
    "native": {},
}


def choice(vision: str, connector: str, family: str, mode: str = "square") -> Model:
    """Name one cell."""
    parts = {"vision": vision, "connector": connector, "language": f"tiny-{family}"} | OPTIONS.get(connector, {})
    return Model.parse(parts | {"image_mode": mode} | MODES[mode], "test")


def make(model: Model) -> TinyLlava:
    """Give one cell with random weights. Encoder and language model are built once, and set back to what they were."""
    key = (model.vision, model.language, *([model.image_mode] if model.image_mode == "native" else []))
    torch.manual_seed(0)
    if key not in _MADE:
        config = published(model)
        config.image_token_index = IMAGE_ID
        made = TinyLlava(config).eval()
        _MADE[key] = (made, {name: value.clone() for name, value in made.state_dict().items()})
    made, weights = _MADE[key]
    made.load_state_dict({name: value for name, value in weights.items() if part_of(name) != "connector"}, strict=False)
    made.shape = model.shape
    made.config.connector = dataclasses.asdict(model.shape)
    made.model.multi_modal_projector = build(model.shape)
    made.config.newline = model.scheme.mode == "anyres"
    if made.config.newline:
        made.model.image_newline = Newline(model.shape.language_width)
    elif hasattr(made.model, "image_newline"):
        del made.model.image_newline
    return made
