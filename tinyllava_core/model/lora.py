"""Low-rank adapters of the language model: put on, kept beside the weights, taken up again, merged. It trains nothing.

Every linear layer of the language model but its head has one. The files are named as peft names them.
Source: arXiv 2106.09685 (LoRA), section 4.1; which layers: `lora` of the reference implementation.

Shapes: R rank, I inputs of a layer, O outputs.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tinyllava_core.artifact import write_aside
from tinyllava_core.errors import BadInput
from tinyllava_core.model.tinyllava import TinyLlava
from tinyllava_core.settings.training import Lora

MARK = ".lora_"  # in the name of every adapter's parameter, and of no other
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_LANGUAGE = "model.language_model."
_PEFT = "base_model.model."
_BLOCK = re.compile(r"\.layers?\.(\d+)\.")


class LoraLinear(nn.Linear):
    """A frozen linear layer and its adapter: W x + (alpha / rank) up down dropout(x). `up` starts as 0: at first, nothing changes."""

    lora_down: nn.Parameter  # [R, I]
    lora_up: nn.Parameter  # [O, R]
    scale: float  # alpha / rank
    dropout: float

    @classmethod
    def around(cls, linear: nn.Linear, lora: Lora) -> LoraLinear:
        """Take a layer's weights as they are, and add an adapter."""
        with torch.device("meta"):
            made = cls(linear.in_features, linear.out_features, bias=linear.bias is not None)
        made.weight, made.bias = linear.weight, linear.bias
        down = torch.empty(lora.rank, linear.in_features, dtype=linear.weight.dtype, device=linear.weight.device)
        nn.init.kaiming_uniform_(down, a=math.sqrt(5))  # Source: the authors' loralib
        made.lora_down = nn.Parameter(down)
        made.lora_up = nn.Parameter(down.new_zeros(linear.out_features, lora.rank))
        made.scale, made.dropout = lora.alpha / lora.rank, lora.dropout
        return made

    def forward(self, inputs: Tensor) -> Tensor:
        """[..., I] -> [..., O]."""
        return super().forward(inputs) + self.added(inputs)

    def added(self, inputs: Tensor) -> Tensor:
        """Give what the adapter adds: [..., I] -> [..., O]."""
        dropped = nn.functional.dropout(inputs, self.dropout, self.training)
        return self.scale * nn.functional.linear(nn.functional.linear(dropped, self.lora_down), self.lora_up)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """Give the plain layer that computes the same."""
        with torch.device("meta"):
            plain = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None)
        self.weight += (self.scale * self.lora_up.float() @ self.lora_down.float()).to(self.weight.dtype)
        plain.weight, plain.bias = self.weight, self.bias
        return plain


def start(model: TinyLlava, lora: Lora | None, first_block: int, seed: int) -> None:
    """Bring a model's adapters to what a stage asks for: continue those of the same layers, rank and alpha, else merge them and put on new
    ones.

    `first_block`: the blocks in front of it get none.
    """
    found, have = adapted(model), [name for name, _ in _layers(model)]
    linear = [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    names = [name for name in linear if name.startswith(_LANGUAGE) and _block(name) >= first_block]
    if lora is not None and found is not None and (found.rank, found.alpha, have) == (lora.rank, lora.alpha, names):
        for _, layer in _layers(model):
            layer.dropout = lora.dropout
        return
    merge(model)
    if lora is not None:
        torch.manual_seed(seed)
        put_on(model, lora, names)


def put_on(model: TinyLlava, lora: Lora, names: list[str]) -> None:
    """Give the named layers a fresh adapter each."""
    for name in names:
        model.set_submodule(name, LoraLinear.around(model.get_submodule(name), lora))  # type: ignore[arg-type]


def adapted(model: TinyLlava) -> Lora | None:
    """Say which adapters a model has; None: none."""
    for _, layer in _layers(model):
        rank = len(layer.lora_down)
        return Lora(rank=rank, alpha=layer.scale * rank, dropout=layer.dropout)
    return None


def merge(model: TinyLlava) -> None:
    """Add every adapter to its layer's weights, and take it off."""
    for name, layer in list(_layers(model)):
        model.set_submodule(name, layer.merged())


def save(model: TinyLlava, folder: Path) -> None:
    """Write a model's adapters into a checkpoint's folder; without any, write nothing."""
    lora = adapted(model)
    if lora is None:
        return
    tensors = {}
    for name, layer in _layers(model):
        tensors[f"{_PEFT}{name}.lora_A.weight"] = layer.lora_down.detach().cpu().contiguous()
        tensors[f"{_PEFT}{name}.lora_B.weight"] = layer.lora_up.detach().cpu().contiguous()
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "target_modules": sorted(name for name, _ in _layers(model)),
        "bias": "none",
        "base_model_name_or_path": None,
    }
    write_aside(folder / CONFIG, json.dumps(config, indent=2))


def load(model: TinyLlava, folder: Path) -> None:
    """Put on the adapters that a checkpoint's folder has, if any. Raises BadInput where they do not fit the model."""
    if not (folder / CONFIG).is_file():
        return
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    lora = Lora(rank=config["r"], alpha=config["lora_alpha"], dropout=config["lora_dropout"])
    tensors = load_file(folder / WEIGHTS)
    linear = {name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    names = [name.removeprefix(_PEFT).split(MARK)[0] for name in tensors if name.endswith("lora_A.weight")]
    strange = sorted(set(names) - linear)
    if strange or 2 * len(names) != len(tensors):
        raise BadInput(
            f"{folder / WEIGHTS}: adapters of layers that the model does not have, or halves of them: {strange[:2]}"
        )
    put_on(model, lora, names)
    with torch.no_grad():
        for name, layer in _layers(model):
            layer.lora_down.copy_(tensors[f"{_PEFT}{name}.lora_A.weight"])
            layer.lora_up.copy_(tensors[f"{_PEFT}{name}.lora_B.weight"])


def _layers(model: TinyLlava) -> Iterator[tuple[str, LoraLinear]]:
    for name, layer in model.named_modules():
        if isinstance(layer, LoraLinear):
            yield name, layer


def _block(name: str) -> int:
    found = _BLOCK.search(f"{name}.")
    return int(found.group(1)) if found else 0
