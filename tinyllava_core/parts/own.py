"""A part that a person names by its place: a folder, a hub's name, or KEY=PLACE, a row whose weights lie elsewhere. No torch here.

What a row says of a part is then read in its own config.json and preprocessor_config.json; of a hub's these two are fetched.
"""

from __future__ import annotations

import json
import re
from math import isqrt
from pathlib import Path
from typing import Any

from tinyllava_core.errors import BadInput
from tinyllava_core.parts import hub
from tinyllava_core.paths import expanded

_HUB_NAME = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")
# Leading tokens of an encoder's output that are no patch. Source: transformers' classes of these types.
CLASS_TOKENS = {"clip_vision_model": 1, "clip": 1, "dinov2": 1} | dict.fromkeys(
    ("siglip_vision_model", "siglip", "siglip2_vision_model", "siglip2", "aimv2_vision_model", "aimv2"), 0
)
# What SigLIP 2 NaFlex's files leave out, because it is the class's default. Source: transformers, Siglip2VisionConfig.
_NAFLEX = {"hidden_size": 768, "num_hidden_layers": 12, "patch_size": 16, "num_patches": 256}
RESAMPLE = {2: "bilinear", 3: "bicubic"}  # Source: Pillow's numbers, which preprocessor_config.json has


def is_place(name: str) -> bool:
    """Tell whether a word names a place rather than a row: it has a slash, or begins with ~ or a dot."""
    return "/" in name or name.startswith(("~", "."))


def placed(place: str, kind: str) -> str:
    """Give a folder (with ~ expanded) or a hub's name. Raises BadInput if it is neither."""
    folder = expanded(place)
    if folder.is_dir():
        return str(folder)
    if folder.is_file():
        gguf = f"; `tinyllava import {place} --out FOLDER` makes one" if folder.suffix == ".gguf" else ""
        raise BadInput(f"{kind} {place!r}: a file; expected the folder that holds config.json{gguf}")
    if not _HUB_NAME.fullmatch(place):
        raise BadInput(
            f"{kind} {place!r}: no config.json there; expected a key of parts/{_TABLE[kind]}, a folder or a hub's name"
        )
    return place


_TABLE = {"vision encoder": "vision.py", "language model": "language.py"}


def read(weights: str, name: str, kind: str) -> dict[str, Any]:
    """Read one of a part's JSON files, in its folder, the hub's cache, or the hub. Raises BadInput if it cannot be had."""
    folder = Path(weights)
    file = folder / name if folder.is_dir() else hub.fetched(weights, name)
    if not file.is_file():
        raise BadInput(f"{kind} {weights!r}: no {name} there; expected a key of parts/{_TABLE[kind]} or a folder")
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInput(f"{file}: not JSON: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise BadInput(f"{file}: expected an object")
    if "auto_map" in data and name == "config.json":
        raise BadInput(
            f"{file}: this model brings its own code (auto_map), which is never run here; use one of transformers'"
        )
    return data


def vision_fields(weights: str) -> dict[str, Any]:
    """Give the fields of parts/vision.py's Vision for an encoder of a folder or a hub's name.

    Raises BadInput for a type that is not known here, or files that do not say how pictures are prepared.
    """
    kind = "vision encoder"
    config = read(weights, "config.json", kind)
    config = {"model_type": config.get("model_type")} | config.get("vision_config", config)
    prepared = read(weights, "preprocessor_config.json", kind)
    where, model_type = f"{kind} {weights!r}", str(config.get("model_type"))
    if model_type not in CLASS_TOKENS:
        raise BadInput(
            f"{where}: model type {model_type!r} is not known here; expected one of {', '.join(CLASS_TOKENS)}"
        )
    size, crop = prepared.get("size") or {}, bool(prepared.get("do_center_crop"))
    if model_type.startswith("siglip2"):  # its processor names no size
        config = _NAFLEX | config
        size = isqrt(config["num_patches"]) * config["patch_size"]
    shown = _side(prepared.get("crop_size") if crop else size, where)
    short_edge = _side(size, where)
    resample = RESAMPLE.get(prepared.get("resample", 3))
    if resample is None:
        raise BadInput(f"{where}: resample = {prepared['resample']}; expected 2 (bilinear) or 3 (bicubic)")
    try:
        return {
            "weights": weights,
            "image_size": shown,
            "patch_size": config["patch_size"],
            "width": config["hidden_size"],
            "num_layers": config["num_hidden_layers"],
            "num_class_tokens": CLASS_TOKENS[model_type],
            "mean": tuple(prepared["image_mean"]),
            "std": tuple(prepared["image_std"]),
            "crop": crop,
            "short_edge": short_edge if short_edge != shown else None,
            "resample": resample,
            "any_shape": model_type.startswith("siglip"),
        }
    except KeyError as key:
        raise BadInput(f"{where}: neither config.json nor preprocessor_config.json says {key}") from None


def _side(size: Any, where: str) -> int:
    """Read a square's side: a number, {shortest_edge}, or {height, width} that are equal."""
    if isinstance(size, dict):
        size = size.get("shortest_edge", size.get("height") if size.get("height") == size.get("width") else None)
    if not isinstance(size, int) or size < 1:
        raise BadInput(f"{where}: preprocessor_config.json says no square size; expected size or crop_size")
    return size
