"""The gradient of the output head for single tokens, made small, by the numbers of a forward pass alone. It reads no file.

It is the outer product of (probabilities - label) and the hidden state. Both factors go through a small random matrix each, so a token
is two short rows, and a record the sum of their products: `hidden` x `error` numbers, whatever the vocabulary.

Shapes: S supervised tokens, D language width, V vocabulary, R records, H and E the projected sides.
Source: the factored projection is LoGra's (arXiv 2405.13954); its sizes were measured on the toy world, docs/why.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tinyllava_core.model import loss

_TOGETHER = 2048  # tokens whose products stand at once: 12 MB at 1,536 numbers each


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors:
    """What each supervised token told."""

    hidden_SH: Tensor
    error_SE: Tensor
    loss_S: Tensor  # float32
    greedy_S: Tensor  # bool: the label was the likeliest token


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one pack told of its records."""

    loss_R: Tensor  # summed over each record's supervised tokens, float32
    tokens_R: Tensor  # how many those are
    greedy_R: Tensor  # bool: at each of them the label was the likeliest token
    head_RK: Tensor  # H * E numbers
    layers_RK: Tensor | None = None  # 0 or more numbers of every linear layer


class HeadSketch:
    """The two random matrices of one seed, for a head of some size."""

    def __init__(self, head: Any, *, hidden: int, error: int, seed: int) -> None:
        self.head = head
        vocabulary, width = head.weight.shape
        self.size = hidden * error
        self._hidden_DH = random_signs(width, hidden, seed).to(head.weight.device)
        self._error_VE = random_signs(vocabulary, error, seed + 1).to(head.weight.device)

    @torch.no_grad()
    def factors(self, hidden_SD: Tensor, labels_S: Tensor) -> Factors:
        """Take what the head is given, a piece at a time, as the loss is taken."""
        places = max(1, loss.PIECE // len(self._error_VE))
        pieces = zip(hidden_SD.split(places), labels_S.split(places), strict=True)
        hidden, error, losses, greedy = zip(*(self._piece(*one) for one in pieces), strict=True)
        return Factors(
            hidden_SH=torch.cat(hidden), error_SE=torch.cat(error), loss_S=torch.cat(losses), greedy_S=torch.cat(greedy)
        )

    def _piece(self, hidden_SD: Tensor, labels_S: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        logits = self.head.logits(hidden_SD).float()
        log_p = logits.log_softmax(-1)
        error = log_p.exp()
        error[torch.arange(len(labels_S), device=error.device), labels_S] -= 1
        if self.head.softcap is not None:
            error = error * (1 - (logits / self.head.softcap) ** 2)
        losses = -log_p.gather(1, labels_S[:, None])[:, 0]
        return (
            product(hidden_SD, self._hidden_DH),
            product(error, self._error_VE),
            losses,
            logits.argmax(-1) == labels_S,
        )

    def summed(self, factors: Factors, record_S: Tensor, num_records: int) -> Found:
        """Add up what each record's tokens told."""
        loss_R, wrong_R, tokens_R = (torch.zeros(num_records, device=record_S.device) for _ in range(3))
        loss_R.index_add_(0, record_S, factors.loss_S)
        wrong_R.index_add_(0, record_S, (~factors.greedy_S).float())
        tokens_R.index_add_(0, record_S, torch.ones_like(factors.loss_S))
        head_RK = torch.zeros(num_records, self.size, device=record_S.device)
        of = zip(*(one.split(_TOGETHER) for one in (factors.hidden_SH, factors.error_SE, record_S)), strict=True)
        for hidden, error, record in of:
            head_RK.index_add_(0, record, (hidden[:, :, None] * error[:, None, :]).flatten(1))
        return Found(
            loss_R=loss_R,
            tokens_R=tokens_R.int(),
            greedy_R=(wrong_R == 0) & (tokens_R > 0),
            head_RK=head_RK,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Narrow:
    """Rows as int8 with one scale each."""

    small_RK: Tensor
    scale_R: Tensor
    norm_R: Tensor  # of the row before rounding

    @classmethod
    def of(cls, rows_RK: Tensor) -> Narrow:
        """Round them."""
        scale = rows_RK.abs().amax(1) / 127
        small = torch.round(rows_RK / torch.where(scale > 0, scale, 1)[:, None]).to(torch.int8)
        return cls(small_RK=small, scale_R=scale, norm_R=torch.linalg.vector_norm(rows_RK, dim=1))


def product(rows: Tensor, signs: Tensor) -> Tensor:
    """Multiply in float32, whatever half precision the model is run in."""
    with torch.autocast(rows.device.type, enabled=False):
        return rows.float() @ signs


def random_signs(rows: int, columns: int, seed: int) -> Tensor:
    """Draw a matrix of +-1 / sqrt(columns), the same on every machine: inner products are kept on average -> [rows, columns]."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randint(0, 2, (rows, columns), generator=generator).float() * 2 - 1) / columns**0.5
