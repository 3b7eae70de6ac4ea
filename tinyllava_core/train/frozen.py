"""Frozen matrices in half precision, which autocast would turn them into at every use: half their memory, and no copies to wait for.

Nothing changes by it, not a bit: a linear layer or a convolution multiplies the same bf16 numbers. What stays float32 is what is
read in float32: all that is trained, embeddings (a tied head with them), norms, positions, buffers. Rank 0 keeps the weights as
they were, in the CPU's memory, for the checkpoint: a later stage may train them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tinyllava_core.model.quantize import PackedLora
from tinyllava_core.settings.launch import Launch
from tinyllava_core.settings.training import Training
from tinyllava_core.train.engines.ranks import rank


class Frozen:
    """What a model's frozen matrices were before they were halved; nothing on other ranks than 0."""

    def __init__(self) -> None:
        self._were: dict[nn.Parameter, Tensor] = {}

    @classmethod
    def halved(cls, model: nn.Module) -> Frozen:
        """Halve a model's frozen matrices where they lie."""
        found = cls()
        for parameter in matrices_alone(model):
            if rank() == 0:
                found._were[parameter] = parameter.data.cpu()
            parameter.data = parameter.data.to(torch.bfloat16)
        return found

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Put the weights back as they were while inside."""
        now = {parameter: parameter.data for parameter in self._were}
        for parameter, value in self._were.items():
            parameter.data = value
        try:
            yield
        finally:
            for parameter, value in now.items():
                parameter.data = value


def worth_halving(training: Training, launch: Launch, device: torch.device) -> bool:
    """Tell whether it spares memory: on a GPU, under autocast. DeepSpeed's ZeRO shares out one type of weights alone."""
    return device.type == "cuda" and training.precision == "bf16" and launch.zero_stage is None


def matrices_alone(model: nn.Module) -> list[nn.Parameter]:
    """List the frozen parameters that linear layers and convolutions have, and no other module."""
    own, others = dict[nn.Parameter, None](), set[nn.Parameter]()
    for module in model.modules():
        held = list(module.parameters(recurse=False))
        multiplies = isinstance(module, nn.Linear | nn.Conv2d) and not isinstance(module, PackedLora)
        own.update(dict.fromkeys(held)) if multiplies else others.update(held)
    return [parameter for parameter in own if not parameter.requires_grad and parameter not in others]
