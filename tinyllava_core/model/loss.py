"""Cross-entropy at the supervised places, a piece at a time, so that the logits of a big vocabulary never stand all at once.

Shapes: S supervised tokens, D language width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

# Numbers of float32 logits that stand at once: 64 Mi are 256 MiB. A piece that is the only one is kept for the backward pass,
# of several each is made again there.
PIECE = 64 * 1024 * 1024


def token_losses(head: Callable[[Tensor], Tensor], hidden_SD: Tensor, labels_S: Tensor, vocabulary: int) -> Tensor:
    """Give the negative log-likelihood of each label, in float32 -> [S]. `head`: [s, D] -> logits [s, V]."""
    places = max(1, PIECE // vocabulary)
    if len(labels_S) <= places:
        return _losses(head, hidden_SD, labels_S)
    pieces = zip(hidden_SD.split(places), labels_S.split(places), strict=True)
    return torch.cat([checkpoint(_losses, head, hidden, labels, use_reentrant=False) for hidden, labels in pieces])


def _losses(head: Callable[[Tensor], Tensor], hidden_sD: Tensor, labels_s: Tensor) -> Tensor:
    return cross_entropy(head(hidden_sD).float(), labels_s, reduction="none")
