"""Checkpoints that other programs wrote: which layout a folder has, and its weights under the names of this package. It builds nothing.

Layouts: `factory` (TinyLLaVA Factory, one file), `factory-parts` (its folders language_model, vision_tower, connector, with a LoRA
adapter or without), `llava` (LLaVA-1.5 and TinyLLaVABench, names with mm_), `llava-hf` (transformers' Llava).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from tinyllava_core.checkpoints import CARD
from tinyllava_core.checkpoints import EXPORT_CARD as EXPORT_CARD
from tinyllava_core.errors import BadInput
from tinyllava_core.model.checkpoint import our_name

Weights = dict[str, Tensor]
_PARTS = ("language_model", "vision_tower", "connector")
_RAW = "connector."  # a connector's weights, before their names are known
_BUFFERS = re.compile(r"(rotary_emb\.inv_freq|position_ids|masked_bias)$")
_NAMES: dict[str, tuple[tuple[str, str], ...]] = {  # the first that fits
    "factory": (
        ("language_model.lm_head.", "lm_head."),
        ("language_model.model.", "model.language_model."),
        ("vision_tower._vision_tower.", "model.vision_tower."),
        ("connector._connector.", _RAW),
    ),
    "llava": (
        ("lm_head.", "lm_head."),
        ("model.mm_projector.", _RAW),
        ("mm_projector.", _RAW),
        ("model.vision_tower.vision_tower.", "model.vision_tower."),
        ("model.", "model.language_model."),
    ),
}
# DINOv2's names, as its checkpoints have them on the hub and as transformers 5 has them in memory.
_DINO = (
    (".attention.attention.query.", ".attention.q_proj."),
    (".attention.attention.key.", ".attention.k_proj."),
    (".attention.attention.value.", ".attention.v_proj."),
    (".attention.output.dense.", ".attention.o_proj."),
)


def _a_number(path: Path, word: str) -> float:
    if word == "NaN":
        raise BadInput(f"{path}: has NaN, which is no number; write what it stands for")
    return float(word)  # Infinity: of a limit that is none


def layout_of(folder: Path) -> tuple[str, dict[str, Any]]:
    """Tell which layout a folder has, by what is in it -> layout, its config.json. Raises BadInput for none of them."""
    path = folder / "config.json"
    if not path.is_file():
        raise BadInput(f"{folder}: no config.json; expected the folder of a checkpoint")
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"), parse_constant=partial(_a_number, path))
    if (folder / CARD).is_file():
        raise BadInput(f"{folder}: already a checkpoint of this package")
    if "connector_type" in config:
        return ("factory-parts" if (folder / "language_model").is_dir() else "factory"), config
    if "mm_vision_tower" in config:
        return "llava", config
    if config.get("model_type") == "llava" and "text_config" in config:
        return "llava-hf", config
    raise BadInput(
        f"{path}: model type {config.get('model_type')!r} with neither connector_type (TinyLLaVA Factory), mm_vision_tower (LLaVA) "
        "nor text_config (transformers' Llava): a layout that is not known here"
    )


def read_weights(folder: Path, layout: str, config: dict[str, Any]) -> Weights:
    """Read all weights of a checkpoint under this package's names, in float32. Raises BadInput for a name that is not known."""
    if layout == "factory-parts":
        found = _parts(folder)
        if (folder / "adapter_config.json").is_file():
            found = _merged(found, folder)
        layout = "factory"
    else:
        found = read_files(folder)
    if layout == "llava-hf":
        named = {
            our_name(name).replace("model.vision_tower.vision_model.", "model.vision_tower."): t
            for name, t in found.items()
        }
    else:
        named = {_renamed(name, _NAMES[layout], folder): tensor for name, tensor in found.items()}
    return {_current(name): tensor.float() for name, tensor in named.items() if not _BUFFERS.search(name)}


def read_files(folder: Path) -> Weights:
    """Read every safetensors file of a folder, or else every .bin. Raises BadInput if there is none."""
    for pattern in ("model*.safetensors", "pytorch_model*.bin"):
        files = sorted(folder.glob(pattern))
        if files:
            return {name: tensor for file in files for name, tensor in _read(file).items()}
    raise BadInput(f"{folder}: no model*.safetensors and no pytorch_model*.bin there")


def connector_names(kind: str, weights: Weights) -> Weights:
    """Give a checkpoint's connector weights the names that our connector of this kind has."""
    rules: dict[str, Iterable[tuple[str, str]]] = {
        "linear": [(r"^(0\.)?(weight|bias)$", r"linear_1.\2")],
        "mlp": [(r"^(\d+)\.", "linear_N.")],
        "mixture-mlp": [(r"^clip\.(\d+)\.", "first.linear_N."), (r"^dinov2\.(\d+)\.", "second.linear_N.")],
        "resampler": [
            (r"^latents$", "queries"),
            (r"^layers\.(\d+)\.0\.norm_media\.", r"blocks.\1.attention.norm_features."),
            (r"^layers\.(\d+)\.0\.norm_latents\.", r"blocks.\1.attention.norm_queries."),
            (r"^layers\.(\d+)\.0\.", r"blocks.\1.attention."),
            (r"^layers\.(\d+)\.1\.0\.", r"blocks.\1.norm."),
            (r"^layers\.(\d+)\.1\.1\.", r"blocks.\1.enter."),
            (r"^layers\.(\d+)\.1\.3\.", r"blocks.\1.leave."),
        ],
        "qformer": [
            (r"^query_tokens$", "queries"),
            (r"^projector\.", "linear."),
            (r"^(bert\.encoder\.layer\.\d+\.(?:cross)?attention)\.self\.", r"\1.attention."),
        ],
    }
    renamed = {}
    for name, tensor in weights.items():
        new = name
        for pattern, target in rules[kind]:
            place = re.match(pattern, name)
            if place is None:
                continue
            if "_N." in target:  # every second module of theirs is an activation
                target = target.replace("_N.", f"_{int(place.group(1)) // 2 + 1}.")
            new = re.sub(pattern, target, name)
            break
        renamed[new] = tensor
    if kind == "qformer":
        renamed["queries"] = renamed["queries"].flatten(0, 1)
        width = renamed["queries"].shape[-1]  # theirs normalises the queries without a scale and a shift of its own
        renamed |= {"bert.layernorm.weight": torch.ones(width), "bert.layernorm.bias": torch.zeros(width)}
    return renamed


def split_connector(weights: Weights) -> tuple[Weights, Weights]:
    """Take a checkpoint's weights apart -> the connector's, raw; all others."""
    raw = {name.removeprefix(_RAW): tensor for name, tensor in weights.items() if name.startswith(_RAW)}
    return raw, {name: tensor for name, tensor in weights.items() if not name.startswith(_RAW)}


def _parts(folder: Path) -> Weights:
    """Read the three folders of a stage that was stored part by part."""
    found = {}
    for part in _PARTS:
        for name, tensor in read_files(folder / part).items():
            prefix = {
                "language_model": "language_model.",
                "vision_tower": "vision_tower._vision_tower.",
                "connector": "connector.",
            }[part]
            found[prefix + name.replace(".base_layer.", ".")] = tensor
    return found


def _merged(weights: Weights, folder: Path) -> Weights:
    """Add a LoRA adapter to the matrices it was trained beside."""
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    adapter = _read(folder / "adapter_model.safetensors")
    rank = config["r"]
    scale = config["lora_alpha"] / (rank**0.5 if config.get("use_rslora") else rank)
    for name, down in adapter.items():
        if ".lora_A." not in name:
            continue
        module = name.removeprefix("base_model.model.").split(".lora_A.")[0]
        target = f"{module}.weight"
        if target not in weights:
            raise BadInput(f"{folder}: the adapter changes {target!r}, which the checkpoint does not have")
        weights[target] = (
            weights[target].float() + scale * adapter[name.replace(".lora_A.", ".lora_B.")].float() @ down.float()
        )
    return weights


def _read(file: Path) -> Weights:
    if file.suffix == ".safetensors":
        return load_file(file)
    loaded: Weights = torch.load(file, map_location="cpu", weights_only=True)
    return loaded


def _renamed(name: str, rules: Iterable[tuple[str, str]], folder: Path) -> str:
    for theirs, ours in rules:
        if name.startswith(theirs):
            rest = name.removeprefix(theirs)
            return ours + (rest.removeprefix("vision_model.") if ours == "model.vision_tower." else rest)
    raise BadInput(f"{folder}: no part of the model is known to have a weight {name!r}")


def _current(name: str) -> str:
    if name.startswith("model.vision_tower."):
        name = name.replace("model.vision_tower.clip.vision_model.", "model.vision_tower.clip.")
        for theirs, ours in _DINO:
            name = name.replace(theirs, ours)
    return name
