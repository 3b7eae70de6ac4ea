"""One small interface for what steps the weights: plain PyTorch, PyTorch's own sharding, DeepSpeed. It knows no data and no recipe file.

A step is: for each of this rank's packs `losses(...)` and `backward(loss)`, then once `step()`. The loss is already divided by the supervised
tokens of the whole step over all ranks, so gradients are summed, never averaged.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Norms:
    """Gradient norms of a step, before clipping."""

    by_part: dict[str, float]

    @property
    def total(self) -> float:
        """Of all parts together."""
        return math.hypot(*self.by_part.values())


class Engine(Protocol):
    """What the loop asks of a back."""

    name: str  # in the record of the stage

    @property
    def groups(self) -> list[dict[str, Any]]:
        """The optimizer's groups, to set learning rates on."""

    def losses(self, *pack: Any) -> Tensor:
        """Run `TinyLlava.supervised_losses` on one pack."""

    def measure(self, *pack: Any) -> Tensor:
        """The same, of a pack that is not trained on; called without autograd."""

    def backward(self, loss: Tensor, is_last: bool) -> None:
        """Add the gradients of one pack; `is_last`: of this rank's last pack in the step."""

    def step(self) -> Norms:
        """Sum over ranks, clip, update, clear -> gradient norms before clipping. Where they are no number, nothing is updated."""

    def save(self, folder: Path) -> Callable[[], None]:
        """Copy the weights that are trained and the optimizer's moments; what comes back, called on every rank, writes them at any
        time later, as train/engines/state.py says, and returns when all ranks have."""

    def load(self, folder: Path) -> None:
        """Read what any engine's `save` wrote, on any number of ranks."""

    def pieces(self) -> dict[str, Tensor]:
        """Give what this rank holds of each parameter."""

    def whole(self) -> AbstractContextManager[None]:
        """Let rank 0 read all weights in the model while inside; all ranks enter."""


def trained_by_name(model: nn.Module, groups: list[dict[str, Any]]) -> dict[str, nn.Parameter]:
    """Name the parameters of an optimizer's groups."""
    grouped = {parameter for group in groups for parameter in group["params"]}
    return {name: parameter for name, parameter in model.named_parameters() if parameter in grouped}


def trained_by_part(groups: list[dict[str, Any]]) -> dict[str, list[nn.Parameter]]:
    """Collect the parameters of an optimizer's groups by the part of the model."""
    found: dict[str, list[nn.Parameter]] = {}
    for group in groups:
        found.setdefault(group["part"], []).extend(group["params"])
    return found
