"""How many floating-point operations a step needs, and how many a device could do: model FLOP utilisation. It measures nothing.

A matrix of N numbers costs 2 N operations a token forward, as many again to carry the gradient through it, and as many for its
own gradient. What is frozen needs no gradient of its own, and what lies before everything that is trained carries none.
Recomputed activations do not count, so this is MFU, not hardware utilisation (Source: PaLM, appendix B).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from tinyllava_core.estimate.gpus import GPUS
from tinyllava_core.model.loss import last_mlp
from tinyllava_core.model.tinyllava import TinyLlava, blocks, part_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Operations of forward and backward, by what there is of each in a step."""

    per_token: float  # the language model's blocks, for every token, but for the last one's MLP
    per_square: float  # its attention, for the square of a record's length
    per_supervised: float  # that MLP, and the head: model/loss.py
    per_image: float  # encoder and connector

    def of(self, tokens: int, squares: int, supervised: int, images: int) -> float:
        """Add up a step."""
        return (
            self.per_token * tokens
            + self.per_square * squares
            + self.per_supervised * supervised
            + self.per_image * images
        )


def cost(model: TinyLlava) -> Cost:
    """Count a model whose parts have been frozen and opened as the stage says."""
    text, vision = model.config.text_config, model.config.vision_config
    before = _trains(model, "vision") or _trains(model, "connector")
    language = [m for name, m in _matrices(model, "language") if not name.startswith("lm_head")]
    mlp = last_mlp(blocks(model.model.language_model)[-1])
    last = sum(_operations(m, before) for m in language if mlp is not None and m in set(mlp.modules()))
    patches = model.shape.num_patches // (2 if vision.model_type == "clip_dinov2" else 1)  # of one encoder
    used = (
        vision.num_hidden_layers + 1 + model.config.vision_feature_layer
    )  # blocks up to the one that is read; final: -1
    encoder = [m for name, m in _matrices(model, "vision") if _block(name) < used and ".head." not in name]
    carried = sum(_numbers(m) for m in encoder if m.weight.requires_grad)  # from its first trained block on
    connector = [m for _, m in _matrices(model, "connector")]
    head_width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    scores = 2 * 2 * text.num_hidden_layers * text.num_attention_heads * head_width / 2  # causal: half of the square
    looks = 2 * 2 * used * vision.hidden_size * patches**2
    share = carried / max(1, sum(map(_numbers, encoder)))
    image = patches * (2 * sum(map(_numbers, encoder)) + 4 * carried) + looks * (1 + 2 * share)
    image += model.config.image_seq_length * sum(_operations(m, share > 0) for m in connector)
    return Cost(
        per_token=sum(_operations(m, before) for m in language) - last,
        per_square=scores * (3 if before or _trains(model, "language") else 1),
        per_supervised=last + _operations(model.lm_head, True),
        per_image=float(image),
    )


def peak(device: torch.device) -> float | None:
    """Give a device's dense bf16 operations a second; None if it is not in the table."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((gpu.peak for word, gpu in GPUS.items() if word in name), None)


def _matrices(model: TinyLlava, part: str) -> Iterator[tuple[str, nn.Linear]]:
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and part_of(f"{name}.weight") == part:
            yield name, module


def _block(name: str) -> int:
    numbers = [int(word) for word in name.split(".") if word.isdigit()]
    return numbers[0] if numbers else 0


def _numbers(matrix: nn.Linear) -> int:
    return matrix.in_features * matrix.out_features


def _operations(matrix: nn.Linear, carries: bool) -> float:
    """Count forward, the gradient that is carried through, and the matrix's own."""
    own = matrix.weight.requires_grad
    return 2.0 * _numbers(matrix) * (1 + (carries or own) + own)


def _trains(model: TinyLlava, part: str) -> bool:
    return any(parameter.requires_grad for name, parameter in model.named_parameters() if part_of(name) == part)
