"""Where a model runs: the recipe's word for a device, held against what this machine has. It moves nothing there."""

from __future__ import annotations

import torch

from tinyllava_core.errors import BadInput


def use_gpu(name: str) -> bool:
    """Tell whether `launch.device` means a GPU here. Raises BadInput for cuda where there is none."""
    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        raise BadInput("launch.device is 'cuda', but torch sees no GPU here; set it to auto or cpu")
    return found and name != "cpu"
