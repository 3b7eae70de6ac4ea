"""One pack through the model: its losses, and whose they are. It steps no optimizer.

Shapes: S supervised tokens of a pack.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from tinyllava_core.data.tensors.example import Pack, Places, normalise
from tinyllava_core.data.tensors.order import Order
from tinyllava_core.model.records import Layout, Records
from tinyllava_core.parts import Vision


def pack_losses(
    losses: Callable[..., Tensor], pack: Pack, vision: Vision, precision: str, device: torch.device
) -> Tensor:
    """Run one pack -> the loss of each of its supervised tokens [S]. `losses`: an engine's, or another's like it."""
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        return losses(*given(pack.to(device), vision))


def given(there: Pack, vision: Vision) -> tuple[Tensor | Layout | None, ...]:
    """Give what the model takes of a pack, in its order."""
    images = normalise(there.pixels_N3HW, vision) if there.features_NPV is None else there.features_NPV
    layout = None if there.places is None else layout_of(there.places, there.order, there.which_N)
    return there.ids_T, there.position_T, there.record_T, images, there.labels_T, layout


def layout_of(places: Places, order: Order | None, which_N: Tensor | None = None) -> Layout:
    """Say it in the model's words."""
    return Layout(
        records=Records(places.lengths, places.starts, max(places.lengths)),
        image_I=places.image_I,
        keep_S=places.keep_S,
        labels_S=places.labels_S,
        place_I=None if order is None else order.place_I,
        weight_I=None if order is None else order.weight_I,
        shapes_N2=None if order is None else order.shapes_N2,
        which_N=which_N,
    )


def by_source(losses_S: Tensor, pack: Pack, sources: np.ndarray, num_sources: int) -> Tensor:
    """Add up the losses of a pack's tokens by the source of their record, where they are -> [num_sources] float64."""
    assert pack.places is not None
    source_S = torch.from_numpy(sources.astype(np.int64))[pack.places.record_S]
    total = torch.zeros(num_sources, dtype=torch.float64, device=losses_S.device)
    return total.index_add_(0, source_S.to(losses_S.device, non_blocking=True), losses_S.double())
