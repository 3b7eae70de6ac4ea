"""What training over quantized weights needs of a machine, looked at before anything is downloaded. No torch here.

The quantizing itself is in model/quantize.py.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from tinyllava_core.errors import BadInput
from tinyllava_core.recipe import Recipe

GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # NVIDIA's driver, AMD's, Windows' for Linux


def check_quantized(recipe: Recipe) -> None:
    """Raises BadInput, with all that is missing here, if a stage quantizes and this machine cannot."""
    stages = [stage for stage in recipe.stages() if quantizes(recipe, stage)]
    if not stages:
        return
    missing = [] if has_bitsandbytes() else ["bitsandbytes (pip install 'tinyllava-pipelines[qlora]')"]
    if recipe.launch.device == "cpu" or (recipe.launch.device == "auto" and not any(map(_is_there, GPU_DEVICES))):
        missing.insert(0, "a GPU")
    if missing:
        raise BadInput(
            f"recipe {recipe.name!r}: {stages[0]}.language.lora.quantize needs a GPU and bitsandbytes; missing here: "
            f"{' and '.join(missing)}. Without both: {stages[0]}.language.lora.quantize=null, which is plain LoRA"
        )


def quantizes(recipe: Recipe, stage: str) -> bool:
    """Tell whether a stage trains over quantized weights."""
    lora = recipe.training(stage).language.lora
    return lora is not None and lora.quantize is not None


def has_bitsandbytes() -> bool:
    """Tell whether the package that quantizes is installed."""
    return importlib.util.find_spec("bitsandbytes") is not None


def _is_there(device: str) -> bool:
    return Path(device).exists()
