"""Plain PyTorch; with several ranks every rank holds all, and gradients are summed once a step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tinyllava_core.model.tinyllava import TinyLlava
from tinyllava_core.settings.training import Training
from tinyllava_core.train.engines import state
from tinyllava_core.train.engines.engine import Norms, trained_by_name, trained_by_part
from tinyllava_core.train.engines.ranks import rank

_BUCKET = 32 * 1024 * 1024  # numbers that are sent at once


class TorchEngine:
    """Steps a model that lies whole on each rank."""

    name = "torch"

    def __init__(self, model: TinyLlava, groups: list[dict[str, Any]], training: Training) -> None:
        self.model, self.max_grad_norm = model, training.max_grad_norm
        self.sent_in = sent_in(training)
        self.trained = trained_by_name(model, groups)
        self.by_part = trained_by_part(groups)
        self.device = next(iter(self.trained.values())).device
        self.optimizer = torch.optim.AdamW(groups, betas=training.betas, eps=1e-8, fused=True)

    @property
    def groups(self) -> list[dict[str, Any]]:
        """The optimizer's groups as they are now."""
        return list(self.optimizer.param_groups)

    def losses(self, *pack: Any) -> Tensor:
        """Run the model as it is."""
        return self.model.supervised_losses(*pack)

    def measure(self, *pack: Any) -> Tensor:
        """Run the model as it is."""
        return self.model.supervised_losses(*pack)

    def backward(self, loss: Tensor, is_last: bool) -> None:
        """Add gradients; nothing is sent before `step`."""
        loss.backward()

    def step(self) -> Norms:
        """Sum gradients over ranks, clip, update."""
        for parameter in self.trained.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.sum_gradients()
        squares = torch.stack([_square(map(held_grad, own), self.device) for own in self.by_part.values()])
        self.sum_squares(squares)
        norms = Norms(by_part=dict(zip(self.by_part, squares.sqrt().tolist(), strict=True)))
        if self.max_grad_norm is not None and norms.total > self.max_grad_norm:
            share = self.max_grad_norm / (norms.total + 1e-6)
            torch._foreach_mul_([held_grad(p) for p in self.trained.values()], share)
        if torch.isfinite(squares.sum()):
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norms

    def sum_gradients(self) -> None:
        """Sum the gradients of all ranks, many tensors in one message."""
        if not dist.is_initialized():
            return
        for bucket in _buckets([held_grad(p) for p in self.trained.values()]):
            flat = torch.cat([gradient.flatten() for gradient in bucket]).to(self.sent_in)
            dist.all_reduce(flat)
            for gradient, summed in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
                gradient.copy_(summed.view_as(gradient))

    def sum_squares(self, squares: Tensor) -> None:
        """Every rank has whole gradients: nothing is to be added."""

    def save(self, folder: Path) -> Callable[[], None]:
        """Rank 0 copies and writes; the other ranks hold the same."""
        if rank() != 0:
            return lambda: None
        return state.writer({name: held.to("cpu", copy=True) for name, held in self.state().items()}, folder)

    def load(self, folder: Path) -> None:
        """Every rank reads the same files."""
        for parameter in self.trained.values():
            self.optimizer.state[parameter] = state.fresh_moments(parameter)
        held = self.state()
        state.read(held, folder)
        for parameter in self.trained.values():
            step = self.optimizer.state[parameter]["step"]
            step.copy_(held[state.UPDATES][0].to(step.device))

    def state(self) -> dict[str, Tensor]:
        """Name what is saved, as it lies in memory."""
        moments = {name: self.optimizer.state[parameter] for name, parameter in self.trained.items()}
        return state.named(self.trained, moments, next(iter(moments.values()))["step"])

    def pieces(self) -> dict[str, Tensor]:
        """All of each parameter."""
        return dict(self.model.named_parameters())

    def whole(self) -> AbstractContextManager[None]:
        """Every rank holds all of them anyway."""
        return nullcontext()


def sent_in(training: Training) -> torch.dtype:
    """Give the type in which gradients travel between ranks."""
    return torch.bfloat16 if training.gradients_in == "bf16" else torch.float32


def held(tensor: Tensor) -> Tensor:
    """Give the part of a tensor that this rank holds: all of a plain one."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def held_grad(parameter: nn.Parameter) -> Tensor:
    """Give the part of a gradient that this rank holds."""
    assert parameter.grad is not None
    return held(parameter.grad)


def _square(gradients: Iterator[Tensor], device: torch.device) -> Tensor:
    """Sum the squares of some gradients' numbers -> [], where the model is."""
    norms = torch.stack(torch._foreach_norm(list(gradients)))
    return norms.double().square().sum().to(device)


def _buckets(tensors: list[Tensor]) -> Iterator[list[Tensor]]:
    """Cut a list into runs of at most `_BUCKET` numbers, or of one tensor."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and sum(one.numel() for one in bucket) + tensor.numel() > _BUCKET:
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket
