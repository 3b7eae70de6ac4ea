"""What is computed at the supervised places alone: the last block's MLP, and cross-entropy, a piece at a time, so that the logits
of a big vocabulary never stand all at once.

An MLP takes each place on its own, so the places that the head reads get the same numbers; the others get zeros, on which no loss
depends. Of a small model that is much: where one token in seven is supervised, half of the last block and more.

Shapes: T tokens of a pack, S supervised tokens, D language width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

# Numbers of float32 logits that stand at once: 64 Mi are 256 MiB. A piece that is the only one is kept for the backward pass,
# of several each is made again there.
PIECE = 64 * 1024 * 1024
_MLPS = ("mlp", "feed_forward")  # what the families of parts/language.py call it


def token_losses(head: Callable[[Tensor], Tensor], hidden_SD: Tensor, labels_S: Tensor, vocabulary: int) -> Tensor:
    """Give the negative log-likelihood of each label, in float32 -> [S]. `head`: [s, D] -> logits [s, V]."""
    places = max(1, PIECE // vocabulary)
    if len(labels_S) <= places:
        return _losses(head, hidden_SD, labels_S)
    pieces = zip(hidden_SD.split(places), labels_S.split(places), strict=True)
    return torch.cat([checkpoint(_losses, head, hidden, labels, use_reentrant=False) for hidden, labels in pieces])


def _losses(head: Callable[[Tensor], Tensor], hidden_sD: Tensor, labels_s: Tensor) -> Tensor:
    return cross_entropy(head(hidden_sD).float(), labels_s, reduction="none")


def last_mlp(block: nn.Module) -> nn.Module | None:
    """Find the MLP of a language model's last block; None where it has none by a known name: that block runs everywhere."""
    return next((found for name in _MLPS if isinstance(found := getattr(block, name, None), nn.Module)), None)


def read_at(block: nn.Module, keep_S: Tensor | None, position_T: Tensor | None) -> None:
    """Say of the last block which places the head will read, until it is said anew: a backward pass may run it once more.

    None: all of them.
    """
    mlp: Any = last_mlp(block)
    if mlp is None:
        return
    if not hasattr(mlp, "keep_S"):
        mlp.register_forward_pre_hook(_taken)
        mlp.register_forward_hook(_put_back)
    mlp.keep_S, mlp.position_T = keep_S, position_T


def _taken(mlp: Any, given: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
    """[1, T, D] -> [1, S, D]."""
    return None if mlp.keep_S is None else (given[0][:, mlp.keep_S],)


def _put_back(mlp: Any, _: Any, out: Any) -> Any:
    """[1, S, D] -> [1, T, D]; a mixture of experts may say more beside it."""
    if mlp.keep_S is None:
        return None
    if isinstance(out, tuple):
        return _put_back(mlp, _, out[0]), *out[1:]
    return out.new_zeros(1, len(mlp.position_T), out.shape[2]).index_copy(1, mlp.keep_S, out)
