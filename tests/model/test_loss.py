"""The loss in pieces against the loss in one."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from tinyllava_core.model import loss


def test_the_loss_in_pieces_has_the_values_and_gradients_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(6, 11, bias=True).double()
    hidden = torch.randn(7, 6, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 10, 3, 3, 5, 1, 2])
    losses = loss.token_losses(head, hidden, labels, 11)
    whole = torch.autograd.grad(losses.sum(), [hidden, *head.parameters()])
    expected = cross_entropy(head(hidden), labels, reduction="none")
    torch.testing.assert_close(losses, expected.float())
    monkeypatch.setattr(loss, "PIECE", 3 * 11)  # three places at a time: 3, 3, 1
    pieces = loss.token_losses(head, hidden, labels, 11)
    torch.testing.assert_close(pieces, losses, atol=0, rtol=0)
    for one, other in zip(torch.autograd.grad(pieces.sum(), [hidden, *head.parameters()]), whole, strict=True):
        torch.testing.assert_close(one, other)
