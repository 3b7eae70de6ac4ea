"""How much of a GPU's memory a stage takes, from counts alone. An estimate: it allocates nothing.

Weights, gradients and AdamW's two moments are fp32, cut over the ranks by ZeRO: stage 1 the moments, 2 the gradients too,
3 the weights too. Activations of a transformer block: 34 bytes x tokens x width in bf16, with an attention that keeps no
scores (Source: Korthikanti et al., arXiv 2205.05198, section 4.1); with checkpointing one fp32 residual a block, and one
block at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from tinyllava_core.estimate.part_counts import PartCount
from tinyllava_core.estimate.shapes import Shapes
from tinyllava_core.settings.launch import Launch
from tinyllava_core.settings.trained import enters_language, trained
from tinyllava_core.settings.training import Training

_BLOCK, _RESIDUAL = 34, 4  # bytes for each token and channel
_PIECE = 64 * 1024 * 1024  # logits that stand at once: model/loss.py
_BUCKET = 500_000_000  # numbers that DeepSpeed sends at once, at most: train/engine.py
_ALWAYS = 1.5e9  # bytes: CUDA, its libraries, fragments. A usual figure; measured by nobody here


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes on one GPU."""

    weights: float
    bf16_copies: float  # autocast keeps one of every trained weight during a pack
    gradients: float
    optimizer: float
    buckets: float
    activations: float
    logits: float
    always: float = _ALWAYS

    @property
    def total(self) -> float:
        """All together."""
        return float(sum(getattr(self, field.name) for field in fields(self)))


def memory(
    shapes: Shapes,
    counts: Sequence[PartCount],
    training: Training,
    launch: Launch,
    longest_pack: int,
    images_in_pack: float,
    supervised_in_pack: float,
) -> Memory:
    """Estimate one stage on one of its ranks, at its longest pack."""
    ranks, zero = launch.processes * launch.nodes, launch.zero_stage or 0
    total = float(sum(count.num_parameters for count in counts))
    num_trained = float(sum(count.num_trained for count in counts))
    mixed = training.precision == "bf16"
    held = {name: 0.0 if launch.offload in kinds else 1.0 for name, kinds in _OFFLOADED.items()}
    pieces = min(supervised_in_pack * shapes.vocabulary, _PIECE)
    return Memory(
        weights=4 * total * held["weights"] / (ranks if zero >= 3 else 1),
        bf16_copies=2 * num_trained if mixed and zero < 3 else 0.0,
        gradients=4 * num_trained / (ranks if zero >= 2 else 1),
        optimizer=8 * num_trained * held["optimizer"] / (ranks if zero >= 1 else 1),
        buckets=4 * min(_BUCKET, total) if zero else 0.0,
        activations=_activations(shapes, training, longest_pack, images_in_pack) * (1 if mixed else 2),
        logits=3 * 4 * pieces,  # logits, their softmax, their gradient
    )


_OFFLOADED: dict[str, tuple[str, ...]] = {"weights": ("all",), "optimizer": ("optimizer", "all")}


def _activations(shapes: Shapes, training: Training, tokens: float, images: float) -> float:
    def stack(blocks: int, width: int, places: float) -> float:
        if training.gradient_checkpointing:
            return places * width * (blocks * _RESIDUAL + _BLOCK)
        return places * width * blocks * _BLOCK

    opened = trained("language", training.language.trainable_from_layer, shapes.language_layers).blocks
    blocks = shapes.language_layers if enters_language(training) else len(opened)
    language = stack(blocks, shapes.language_width, tokens)
    patches = images * shapes.patches
    vision = trained("vision", training.vision.trainable_from_layer, shapes.used_blocks)
    if vision.first is None:  # forward alone: a block's activations go when the next one has its own
        return language + patches * shapes.vision_width * _BLOCK
    return language + stack(len(vision.blocks), shapes.vision_width, patches)
