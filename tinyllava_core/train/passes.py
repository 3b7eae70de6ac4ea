"""One pack through the model: its losses, and whose they are. It steps no optimizer.

Shapes: S supervised tokens of a pack.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from tinyllava_core.data.tensors.example import Pack, normalise
from tinyllava_core.parts import Vision
from tinyllava_core.tokenizer import IGNORE


def pack_losses(
    losses: Callable[..., Tensor], pack: Pack, vision: Vision, precision: str, device: torch.device
) -> Tensor:
    """Run one pack -> the loss of each of its supervised tokens [S]. `losses`: an engine's, or another's like it."""
    if pack.features_NPV is not None:
        images = pack.features_NPV.to(device)
    else:
        images = normalise(pack.pixels_N3HW.to(device), vision)
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        return losses(
            pack.ids_T.to(device),
            pack.position_T.to(device),
            pack.record_T.to(device),
            images,
            pack.labels_T.to(device),
        )


def by_source(losses_S: Tensor, pack: Pack, sources: np.ndarray, num_sources: int) -> Tensor:
    """Add up the losses of a pack's tokens by the source of their record -> [num_sources]."""
    record_S = pack.record_T[1:][pack.labels_T[1:] != IGNORE]
    source_S = torch.from_numpy(sources.astype(np.int64))[record_S]
    return torch.zeros(num_sources, dtype=losses_S.dtype).index_add_(0, source_S, losses_S)
