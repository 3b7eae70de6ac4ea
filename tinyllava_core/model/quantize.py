"""Frozen weights under adapters in four bits (QLoRA): on the device the packed ones, in memory the real ones, for the checkpoint.

Source: arXiv 2305.14314, sections 3 (4-bit NormalFloat, double quantization) and 4. bitsandbytes packs and multiplies.
Nothing is trained or stored here.

Shapes: I inputs of a layer, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tinyllava_core.errors import BadInput
from tinyllava_core.model.lora import LoraLinear
from tinyllava_core.model.tinyllava import TinyLlava


class PackedLora(LoraLinear):
    """A layer with an adapter whose own weights are packed. `weight` stays where it was, as it was: it is what is saved."""

    packed: Tensor
    state: Any  # bitsandbytes' scales

    @classmethod
    def over(cls, layer: LoraLinear, device: torch.device) -> PackedLora:
        """Pack a layer's weights on `device`."""
        import bitsandbytes.functional as packing

        made = cls.__new__(cls)
        nn.Module.__init__(made)
        made.__dict__.update({key: value for key, value in layer.__dict__.items() if key != "_modules"})
        weight_OI = layer.weight.detach().to(device)
        made.packed, made.state = packing.quantize_4bit(weight_OI, quant_type="nf4", compress_statistics=True)
        return made

    def forward(self, inputs: Tensor) -> Tensor:
        """[..., I] -> [..., O]."""
        import bitsandbytes

        kind = inputs.device.type
        if torch.is_autocast_enabled(kind):
            inputs = inputs.to(torch.get_autocast_dtype(kind))
        bias = None if self.bias is None else self.bias.to(inputs.dtype)
        plain: Tensor = bitsandbytes.matmul_4bit(inputs, self.packed.t(), quant_state=self.state, bias=bias)
        return plain + self.added(inputs)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> PackedLora:
        """Move everything but the real weights, which nothing computes with."""
        kept = self._parameters["weight"]
        self._parameters["weight"] = None
        super()._apply(fn, recurse)
        self._parameters["weight"] = kept
        return self


def pack(model: TinyLlava, device: torch.device) -> None:
    """Pack the weights under every adapter of a model; they are frozen already. Raises BadInput without a GPU or bitsandbytes."""
    if device.type != "cuda":
        raise BadInput("language.lora.quantize needs a GPU, and this training is on a CPU; set it to null: plain LoRA")
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        raise BadInput("language.lora.quantize needs bitsandbytes: pip install 'tinyllava-pipelines[qlora]'") from None
    pack_layers(model, device)


def pack_layers(model: nn.Module, device: torch.device) -> None:
    """Pack the weights under every adapter, on any device that bitsandbytes knows."""
    for name, layer in list(model.named_modules()):
        if isinstance(layer, LoraLinear):
            model.set_submodule(name, PackedLora.over(layer, device))
