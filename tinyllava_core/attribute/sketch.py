"""Gradients of single records, small: of the output head by a forward pass alone, or of all linear layers by one backward pass more.

A head's gradient is the sum over an answer's tokens of (probabilities - label) x hidden state. Both factors go through a small random
matrix each, so a record is `hidden` x `error` numbers, whatever the vocabulary. Records of a pack do not see each other, so a pack's
records are told apart at no cost. It reads no file and knows no plan.

Shapes: S supervised tokens, T tokens, D language width, V vocabulary, R records, H and E the projected sides.
Source: the factored projection is LoGra's (arXiv 2405.13954); its sizes were measured on the toy world, docs/why.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tinyllava_core.model import loss
from tinyllava_core.model.tinyllava import TinyLlava


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one pack told."""

    loss_R: Tensor  # summed over each record's supervised tokens, float32
    tokens_R: Tensor  # how many those are
    greedy_R: Tensor  # bool: at each of them the label was the likeliest token
    head_RK: Tensor  # H * E numbers
    layers_RK: Tensor | None  # 0 or more numbers of every linear layer


class Sketches:
    """The random matrices of one seed, for one model."""

    def __init__(self, model: TinyLlava, *, hidden: int, error: int, side: int, layers: bool, seed: int) -> None:
        self.model, self.side = model.requires_grad_(False), side  # gradients of activations alone
        vocabulary, width = model.lm_head.weight.shape
        device = model.lm_head.weight.device
        self._hidden_DH = random_signs(width, hidden, seed).to(device)
        self._error_VE = random_signs(vocabulary, error, seed + 1).to(device)
        modules = dict(model.model.language_model.named_modules()) if layers else {}
        self.linear = {name: module for name, module in modules.items() if isinstance(module, nn.Linear)}
        self._sides = {
            name: tuple(
                random_signs(size, side, seed + 2 + 2 * place + end).to(device)
                for end, size in enumerate((module.in_features, module.out_features))
            )
            for place, (name, module) in enumerate(self.linear.items())
        }

    def of(self, pack: tuple[Any, ...], record_T: Tensor, record_S: Tensor, num_records: int) -> Found:
        """Run one pack (what `TinyLlava.hidden_states` takes, without labels) and give its records' gradients, unscaled."""
        if not self.linear:
            with torch.no_grad():
                hidden_SD, labels_S = self.model.supervised_states(*pack)
                return self._head(hidden_SD, labels_S, record_S, num_records, None)
        layers_RK = torch.zeros(num_records, len(self.linear), self.side**2, device=record_T.device)
        with self._watched(record_T, record_S, layers_RK):
            hidden_SD, labels_S = self.model.supervised_states(*pack)
            found = self._head(hidden_SD.detach(), labels_S, record_S, num_records, layers_RK)
            self.model.lm_head(hidden_SD, labels_S).sum().backward()
        return found

    def _head(
        self, hidden_SD: Tensor, labels_S: Tensor, record_S: Tensor, num_records: int, layers_RK: Tensor | None
    ) -> Found:
        """Add up each record's head gradient, a piece at a time, as the loss is taken."""
        places = max(1, loss.PIECE // len(self._error_VE))
        size = self._hidden_DH.shape[1] * self._error_VE.shape[1]
        device = hidden_SD.device
        loss_R, wrong_R, tokens_R = (torch.zeros(num_records, device=device) for _ in range(3))
        head_RK = torch.zeros(num_records, size, device=device)
        for hidden, labels, record in zip(
            hidden_SD.split(places), labels_S.split(places), record_S.split(places), strict=True
        ):
            logits = self.model.lm_head.logits(hidden).float()
            log_p = logits.log_softmax(-1)
            error = log_p.exp()
            error[torch.arange(len(labels), device=device), labels] -= 1
            if self.model.lm_head.softcap is not None:
                error = error * (1 - (logits / self.model.lm_head.softcap) ** 2)
            outer = (hidden.float() @ self._hidden_DH)[:, :, None] * (error @ self._error_VE)[:, None, :]
            head_RK.index_add_(0, record, outer.flatten(1))
            loss_R.index_add_(0, record, -log_p.gather(1, labels[:, None])[:, 0])
            wrong_R.index_add_(0, record, (logits.argmax(-1) != labels).float())
            tokens_R.index_add_(0, record, torch.ones_like(wrong_R)[:1].expand(len(labels)))
        return Found(
            loss_R=loss_R,
            tokens_R=tokens_R.int(),
            greedy_R=(wrong_R == 0) & (tokens_R > 0),
            head_RK=head_RK,
            layers_RK=None if layers_RK is None else layers_RK.flatten(1),
        )

    @contextmanager
    def _watched(self, record_T: Tensor, record_S: Tensor, layers_RK: Tensor) -> Iterator[None]:
        """Add each linear layer's gradient to its place while a pack goes forward and back; no parameter gets one."""

        def watch(place: int, name: str) -> Callable[..., None]:
            enter, leave = self._sides[name]

            def hook(_: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
                given_TH = given[0].detach().reshape(-1, given[0].shape[-1]).float() @ enter

                def back(error: Tensor) -> None:
                    error_TH = error.reshape(-1, error.shape[-1]).float() @ leave
                    outer = given_TH[:, :, None] * error_TH[:, None, :]
                    # the last block's MLP runs at the places alone that the head reads
                    of = record_T if len(outer) == len(record_T) else record_S
                    layers_RK[:, place].index_add_(0, of, outer.flatten(1))

                out.register_hook(back)

            return hook

        def begin(
            _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]]:
            return args, {**kwargs, "inputs_embeds": kwargs["inputs_embeds"].detach().requires_grad_()}

        language = self.model.model.language_model
        hooks = [language.register_forward_pre_hook(begin, with_kwargs=True)]
        hooks += [
            module.register_forward_hook(watch(place, name)) for place, (name, module) in enumerate(self.linear.items())
        ]
        try:
            yield
        finally:
            for one in hooks:
                one.remove()


def random_signs(rows: int, columns: int, seed: int) -> Tensor:
    """Draw a matrix of +-1 / sqrt(columns), the same on every machine: inner products are kept on average -> [rows, columns]."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randint(0, 2, (rows, columns), generator=generator).float() * 2 - 1) / columns**0.5
