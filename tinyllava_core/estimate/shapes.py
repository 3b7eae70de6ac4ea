"""The numbers of a model that an estimate needs: sizes of blocks, widths, tokens. Read from the tables of parts; no weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyllava_core.estimate.part_counts import COUNTS
from tinyllava_core.parts import VISIONS, language_row
from tinyllava_core.parts.architecture import LANGUAGE_CONFIGS
from tinyllava_core.settings.model import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """One model's numbers."""

    language_layers: int
    language_width: int
    language_block: int  # parameters of one block
    attention_width: int  # heads x width of a head
    vocabulary: int
    head: int  # numbers of the output matrix
    used_blocks: int  # of the encoder, up to the one that the connector reads
    vision_width: int
    vision_block: int
    patches: int  # of one image
    connector: int  # parameters
    connector_a_token: float  # numbers that one of its tokens passes
    image_tokens: int


def shapes(model: Model) -> Shapes | None:
    """Collect a model's numbers; None if its language model is a folder that no table counts."""
    language, vision = language_row(model.language), VISIONS[model.vision]
    counts = json.loads(COUNTS.read_text(encoding="utf-8"))
    if model.language not in counts["language"] or model.vision not in counts["vision"]:
        return None
    config = _config(model.language, language.weights)
    heads = config["num_attention_heads"]
    head_width = config.get("head_dim") or config["hidden_size"] // heads
    return Shapes(
        language_layers=language.num_layers,
        language_width=language.width,
        language_block=counts["language"][model.language]["block"],
        attention_width=heads * head_width,
        vocabulary=config["vocab_size"],
        head=config["vocab_size"] * language.width,
        used_blocks=vision.num_layers + 1 + model.vision_layer,
        vision_width=vision.width,
        vision_block=counts["vision"][model.vision]["block"],
        patches=vision.num_patches // max(1, len(vision.mixture)),  # each encoder of a mixture sees its own
        connector=model.shape.num_parameters,
        connector_a_token=float(model.shape.num_parameters),
        image_tokens=model.tokens_per_image,
    )


def _config(name: str, weights: str) -> dict[str, Any]:
    if name in LANGUAGE_CONFIGS:
        return LANGUAGE_CONFIGS[name]
    read: dict[str, Any] = json.loads((Path(weights) / "config.json").read_text(encoding="utf-8"))
    return read
