"""Compile the blocks of a part, also those whose activations are made again in the backward pass. It chooses none of the two."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import torch
from torch import nn

from tinyllava_core.model.tinyllava import blocks


def compile_blocks(part: nn.Module, backend: str | Any = "inductor") -> None:
    """Compile each block for any length, so that no pack is the first of its kind.

    transformers makes a block's activations again from within its forward. Compiled from outside, such a block is left as it is,
    without a word: packed attention is not compiled, and what is made again must be one graph. So there the compiled program is
    what is made again.
    """
    for block in blocks(part):
        if getattr(block, "gradient_checkpointing", False):
            block._gradient_checkpointing_func = partial(_again, block._gradient_checkpointing_func, backend)  # type: ignore[assignment]
        else:
            block.compile(dynamic=True, backend=backend)


def _again(checkpoint: Any, backend: Any, run: partial[Any], *inputs: Any) -> Any:
    """Run a block's forward as `checkpoint` does, compiled."""
    return checkpoint(partial(_compiled(run.func, backend), *run.args, **run.keywords), *inputs)


@cache
def _compiled(forward: Any, backend: Any) -> Any:
    return torch.compile(forward, dynamic=True, backend=backend)
