"""What a connector reads of an encoder: one hidden state, patches alone, and no block run behind it. It loads nothing.

Shapes: N images (or tiles of them), P patches of one, V width.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from tinyllava_core.model.vision.mixture import MixtureVision
from tinyllava_core.model.vision.native import NAFLEX, patch_inputs


def patches(
    encoder: nn.Module,
    pixels_N3HW: Tensor,
    layer: int | Literal["final"],
    num_skipped: int,
    shapes_N2: Tensor | None = None,
) -> Tensor:
    """Run an encoder -> the hidden states of `layer`, patches alone [N, P, V]. final: the last ones, behind the encoder's norm.

    `shapes_N2`: rows and columns of each picture, where they have any shape; then `pixels_N3HW` are their patches [N, 3, P, pp].
    """
    if isinstance(encoder, MixtureVision):  # its own forward lays them out so
        states = [hidden_state(member, seen, layer)[:, skip:] for member, seen, skip in encoder.looks(pixels_N3HW)]
        return torch.stack(states, 2).flatten(1, 2)[:, num_skipped:]
    return hidden_state(encoder, pixels_N3HW, layer, shapes_N2)[:, num_skipped:]


def hidden_state(
    encoder: nn.Module, pixels_N3HW: Tensor, layer: int | Literal["final"], shapes_N2: Tensor | None = None
) -> Tensor:
    """Run an encoder's blocks up to the one that gives hidden state `layer`, and none behind it -> [N, P, V]."""
    if layer == "final":
        last: Tensor = _run(encoder, pixels_N3HW, shapes_N2).last_hidden_state
        return last
    name, blocks = block_list(encoder)
    used = len(blocks) + 1 + layer
    if not 0 < used < len(blocks):
        whole: Tensor = _run(encoder, pixels_N3HW, shapes_N2, output_hidden_states=True).hidden_states[layer]
        return whole
    states: list[Tensor] = []
    watched = blocks[used - 1].register_forward_hook(
        lambda _, __, out: states.append(out[0] if isinstance(out, tuple) else out)
    )
    home, _, leaf = name.rpartition(".")
    setattr(encoder.get_submodule(home), leaf, blocks[:used])
    try:
        _run(encoder, pixels_N3HW, shapes_N2)
    finally:
        setattr(encoder.get_submodule(home), leaf, blocks)
        watched.remove()
    return states[0]


def block_list(part: nn.Module) -> tuple[str, nn.ModuleList]:
    """Find a part's blocks, in order, and their name in it: the longest list of modules that it has."""
    lists = ((name, module) for name, module in part.named_modules() if isinstance(module, nn.ModuleList))
    return max(lists, key=lambda found: len(found[1]), default=("", nn.ModuleList()))


def _run(encoder: Any, pixels_N3HW: Tensor, shapes_N2: Tensor | None, **more: Any) -> Any:
    if encoder.config.model_type == NAFLEX:
        return encoder(**patch_inputs(pixels_N3HW, shapes_N2, encoder.config.patch_size), **more)
    return encoder(pixels_N3HW, **more)
