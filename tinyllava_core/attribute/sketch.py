"""Gradients of single records, small: of the output head by a forward pass alone, or of all linear layers by one backward pass more.

Records of a pack do not see each other, so a pack's records are told apart at no cost. It reads no file and knows no plan.

Shapes: S supervised tokens, T tokens, D language width, R records, H and E the projected sides of the head, model/sketch.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tinyllava_core.model.sketch import Found, HeadSketch, product, random_signs
from tinyllava_core.model.tinyllava import TinyLlava


class Sketches:
    """The random matrices of one seed, for one model."""

    def __init__(self, model: TinyLlava, *, hidden: int, error: int, side: int, layers: bool, seed: int) -> None:
        self.model, self.side = model.requires_grad_(False), side  # gradients of activations alone
        self._small = HeadSketch(model.lm_head, hidden=hidden, error=error, seed=seed)
        device = model.lm_head.weight.device
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
                return self._small.summed(self._small.factors(hidden_SD, labels_S), record_S, num_records)
        layers_RK = torch.zeros(num_records, len(self.linear), self.side**2, device=record_T.device)
        with self._watched(record_T, record_S, layers_RK):
            hidden_SD, labels_S = self.model.supervised_states(*pack)
            found = self._small.summed(self._small.factors(hidden_SD.detach(), labels_S), record_S, num_records)
            self.model.lm_head(hidden_SD, labels_S).sum().backward()
        return replace(found, layers_RK=layers_RK.flatten(1))

    @contextmanager
    def _watched(self, record_T: Tensor, record_S: Tensor, layers_RK: Tensor) -> Iterator[None]:
        """Add each linear layer's gradient to its place while a pack goes forward and back; no parameter gets one."""

        def watch(place: int, name: str) -> Callable[..., None]:
            enter, leave = self._sides[name]

            def hook(_: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
                given_TH = product(given[0].detach().reshape(-1, given[0].shape[-1]), enter)

                def back(error: Tensor) -> None:
                    error_TH = product(error.reshape(-1, error.shape[-1]), leave)
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
