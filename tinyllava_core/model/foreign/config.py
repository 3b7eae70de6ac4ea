"""What another program's config.json says, in the words of this package: parts, sizes, image mode. It builds nothing."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from tinyllava_core.errors import BadInput, unknown
from tinyllava_core.model import assemble
from tinyllava_core.model.foreign.layout import Weights
from tinyllava_core.parts import LANGUAGES, VISIONS, Shape, Vision, connector_shape
from tinyllava_core.parts.architecture import VISION_CONFIGS
from tinyllava_core.settings.model import ImageMode

# `architectures` of LLaVA and TinyLLaVABench -> the language model's type in transformers.
_ARCHITECTURES = {
    "LlavaLlamaForCausalLM": "llama",
    "TinyLlavaLlamaForCausalLM": "llama",
    "TinyLlavaStablelmForCausalLM": "stablelm",
    "TinyLlavaPhiForCausalLM": "phi",
}


_TOLD = ("model_type", "hidden_size", "num_hidden_layers", "image_size", "patch_size")


def vision_row(config: dict[str, Any], layout: str, given: str | None, weights: Weights) -> tuple[str, Vision]:
    """Find the encoder's row by the name that config.json has, or take the one that was named."""
    if given is not None and given not in VISIONS:
        raise unknown("vision encoder", given, VISIONS)
    name = config.get("vision_model_name_or_path") or config.get("mm_vision_tower") or ""
    plain = {key: row for key, row in VISIONS.items() if not row.drop_first_patch}
    if given is not None:
        key = given
    elif any(name_.startswith("model.vision_tower.dinov2.") for name_ in weights):
        key = (
            next(key for key, row in plain.items() if row.mixture and VISIONS[row.mixture[0]].weights == name)
            if name
            else ""
        )
    elif layout == "llava-hf":
        key = next((key for key in plain if _describes(VISION_CONFIGS.get(key), config["vision_config"])), "")
    else:
        key = next((key for key, row in plain.items() if row.weights and row.weights == name), "")
    if not key:
        told = config.get("vision_config") or {}
        sizes = ", ".join(f"{word} {told[word]}" for word in _TOLD if word in told)
        raise BadInput(
            f"no row has the vision encoder {repr(name) if name else sizes or 'that config.json does not name'}; name one: --vision, of {', '.join(VISIONS)}"
        )
    row = VISIONS[key]
    strategy = config.get("vision_feature_select_strategy") or config.get("mm_vision_select_feature", "patch")
    skips = strategy in ("patch", "default")
    if layout == "llava" and not row.num_class_tokens:
        skips = False  # that code has a tower of its own for SigLIP, which keeps all patches
    if not row.mixture and not skips and row.num_class_tokens:
        raise BadInput(
            f"vision_feature_select_strategy is {strategy!r}: the class token is kept as an image token, which no row here does"
        )
    if skips and not row.num_class_tokens and not row.mixture:
        row = dataclasses.replace(row, drop_first_patch=True)
    return key, row


def _describes(row: dict[str, Any] | None, config: dict[str, Any]) -> bool:
    keys = ("model_type", "hidden_size", "image_size", "patch_size", "intermediate_size")
    return row is not None and all(row.get(key) == config.get(key) for key in keys if key in row)


def vision_config(config: dict[str, Any], key: str, row: Vision, weights: Weights) -> tuple[Vision, Any]:
    """Give the encoder's configuration, with as many blocks as the weights have, and the row that says so."""
    if row.mixture:
        clip, dinov2 = (assemble.config_of("vision", member) for member in row.mixture)
        return row, assemble.mixture_config(clip, dinov2)
    nested = dict(config.get("vision_config") or VISION_CONFIGS.get(key) or {})
    kind = nested.pop("model_type", None) or assemble.config_of("vision", key).model_type
    kind = {"clip": "clip_vision_model", "siglip": "siglip_vision_model"}.get(kind, kind)
    found = AutoConfig.for_model(kind, **(nested or assemble.config_of("vision", key).to_dict()))
    blocks = {
        int(place.group(1))
        for name in weights
        if (place := re.match(r"model\.vision_tower\..*\.layers?\.(\d+)\.", name))
    }
    if blocks:
        found.num_hidden_layers = len(blocks)
        row = dataclasses.replace(row, num_layers=len(blocks))
    return row, found


def text_config(config: dict[str, Any]) -> Any:
    """Give the language model's configuration: nested, or mixed into the whole one as LLaVA does."""
    nested = dict(config.get("text_config") or config)
    kind = nested.pop("model_type", None)
    if not config.get("text_config"):
        architecture = (config.get("architectures") or [""])[0]
        if architecture not in _ARCHITECTURES:
            raise BadInput(f"config.json: architecture {architecture!r}; expected one of {', '.join(_ARCHITECTURES)}")
        kind = _ARCHITECTURES[architecture]
        nested = {
            key: value
            for key, value in nested.items()
            if not key.startswith(("mm_", "image_", "tune_", "use_mm", "unfreeze_"))
        }
    for key in (
        "architectures",
        "auto_map",
        "_name_or_path",
        "model_name_or_path",
        "model_name_or_path2",
        "torch_dtype",
        "dtype",
    ):
        nested.pop(key, None)
    return AutoConfig.for_model(kind or "llama", **nested)


def check_sizes(config: dict[str, Any], text_config: Any, row: Vision, weights: Weights, folder: Path) -> None:
    """Raise BadInput where config.json names blocks that the weights do not have: a model of ten million is not even built."""
    found = {int(place[1]) for name in weights if (place := re.match(r"model\.language_model\.layers\.(\d+)\.", name))}
    told = text_config.num_hidden_layers
    if isinstance(told, int) and found and told > len(found):
        raise BadInput(f"{folder}: config.json: num_hidden_layers {told}, and the weights have {len(found)}")
    layer = config.get("vision_feature_layer", config.get("mm_vision_select_layer", -2))
    if not isinstance(layer, int) or not -row.num_layers - 1 <= layer <= row.num_layers:
        raise BadInput(
            f"{folder}: config.json: vision_feature_layer {layer!r:.40}; expected a number from {-row.num_layers - 1} to "
            f"{row.num_layers}: the encoder has {row.num_layers} blocks"
        )


def shape(config: dict[str, Any], layout: str, row: Vision, width: int) -> Shape:
    """Translate a connector's name and sizes into one of our rows."""
    name = (
        config.get("connector_type")
        or config.get("mm_projector_type")
        or ("mlp2x_gelu" if layout == "llava-hf" else "linear")
    )
    options: dict[str, int | None] = {"layers": None, "queries": None, "shrink": None}
    if found := re.fullmatch(r"mlp(\d+)x_gelu", name):
        kind, options["layers"] = "mlp", int(found.group(1))
    elif name == "mof_mlp":
        kind = "mixture-mlp"
    elif name in ("linear", "identity"):
        kind = name
    elif name == "resampler":
        kind, options["layers"], options["queries"] = name, config["num_resampler_layers"], config["num_queries"]
    elif name == "qformer":
        kind, options["queries"] = name, config["num_queries"]
    else:
        raise BadInput(f"config.json: connector {name!r} has no counterpart here")
    return connector_shape(
        kind, row, width, layers=options["layers"], queries=options["queries"], shrink=options["shrink"]
    )


def language_name(config: dict[str, Any], layout: str) -> str:
    """Name the language model: a key of the table where one has these weights, else as config.json does."""
    name = str(config.get("llm_model_name_or_path") or config.get("_name_or_path") or layout)
    return next((key for key, row in LANGUAGES.items() if row.weights == name), name)


def image_mode(config: dict[str, Any], folder: Path) -> ImageMode:
    """Say how pictures were made square: config.json's word, or else what the image processor does."""
    mode = config.get("image_aspect_ratio") or ("pad" if _processor(folder).get("do_pad") else "square")
    if mode not in ("square", "pad"):
        raise BadInput(f"config.json: image_aspect_ratio {mode!r}; this package has square and pad")
    return "pad" if mode == "pad" else "square"


def _processor(folder: Path) -> dict[str, Any]:
    """Read an image processor's settings: a file of their own, or a part of the processor's since transformers 5."""
    own, whole = folder / "preprocessor_config.json", folder / "processor_config.json"
    if own.is_file():
        return dict(json.loads(own.read_text(encoding="utf-8")))
    return dict(json.loads(whole.read_text(encoding="utf-8")).get("image_processor") or {}) if whole.is_file() else {}
