"""The loss in pieces against the loss in one; the last MLP at the places that are read against the same everywhere."""

from __future__ import annotations

import pytest
import torch
from model import matrix
from torch.nn.functional import cross_entropy

from tinyllava_core.model import loss, tinyllava
from tinyllava_core.model.tinyllava import blocks
from tinyllava_core.tokenizer import IGNORE


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


@pytest.mark.parametrize("family", matrix.FAMILIES)
def test_the_last_mlp_sees_what_the_head_reads_alone_and_no_loss_or_gradient_changes(
    family: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two records of 6 and 5 tokens, of which three are learned: those at the places 4, 8 and 9 are read in front of them."""
    matrix.add_rows(monkeypatch, tmp_path_factory.getbasetemp())
    model = matrix.make(matrix.choice("tiny-clip", "mlp", family)).train()
    ids_T, record_T = torch.arange(20, 31), torch.tensor([0] * 6 + [1] * 5)
    position_T = torch.tensor([*range(6), *range(5)])
    labels_T = torch.full((11,), IGNORE)
    labels_T[[5, 9, 10]] = ids_T[[5, 9, 10]]
    pack = ids_T, position_T, record_T, torch.zeros(0, 3, 32, 32), labels_T
    rows: list[int] = []
    inner = next(m for m in blocks(model.model.language_model)[-1].mlp.modules() if isinstance(m, torch.nn.Linear))  # type: ignore[union-attr]
    watched = inner.register_forward_pre_hook(lambda _, given: rows.append(given[0].shape[1]))

    def found() -> list[torch.Tensor]:
        losses = model.supervised_losses(*pack)
        trained = [p for p in model.model.language_model.parameters() if p.requires_grad]
        return [losses, *torch.autograd.grad(losses.sum(), trained, allow_unused=True)]

    mine = found()
    assert model(input_ids=ids_T[None]).logits.shape[1] == 11  # asked as a whole, it answers everywhere
    monkeypatch.setattr(tinyllava, "read_at", lambda *_: None)
    theirs = found()
    watched.remove()
    assert rows == [3, 11, 11]
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
