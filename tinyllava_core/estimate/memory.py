"""How much of a GPU's memory a stage takes in each engine, from counts alone. An estimate: it allocates nothing.

Weights, gradients and AdamW's two moments are fp32, frozen matrices bf16 (not with ZeRO). What each rank holds of them:
  torch         everything, and autocast's bf16 copies
  fsdp keep     1 / ranks of what is trained; the weights gathered for the step, and whole gradients up to its last pack
  fsdp reshard  1 / ranks of all three; one block gathered at a time
  ZeRO-1, 2, 3  1 / ranks of the moments, of the gradients too, of the weights too; DeepSpeed's own fp32 copy of its share, and buffers
Source: torch.distributed.fsdp's and DeepSpeed's code; the bytes of a block were traced (tests/estimate/test_traced_memory.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from tinyllava_core.estimate.part_counts import PartCount
from tinyllava_core.estimate.shapes import Shapes
from tinyllava_core.settings.launch import Launch
from tinyllava_core.settings.trained import enters_language, trained
from tinyllava_core.settings.training import Training

# Bytes that a block's forward keeps of each token under autocast: for each number that goes into or comes out of its matrices, and for
# each channel (norms and residual, which are fp32). Within 15 % of what fake tensors show for TinyLlama, Phi-2 and Qwen3-0.6B; the
# usual 34 a channel (arXiv 2205.05198) is of a model that is bf16 throughout. A frozen matrix needs no inputs of its own.
_A_NUMBER, _A_FROZEN, _A_CHANNEL, _RESIDUAL = 3, 1.6, 8, 4
_PIECE = 64 * 1024 * 1024  # logits that stand at once: model/loss.py
_BUCKET = 500_000_000  # numbers that DeepSpeed sends at once, at most: train/engines/zero.py
_LIVE = 1_000_000_000  # numbers that ZeRO-3 keeps gathered, at most: its default
_ALWAYS = 1.5e9  # bytes: CUDA, its libraries, fragments. A usual figure; measured by nobody here


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes on one GPU."""

    weights: float
    copies: float  # in bf16 for matrices, gathered from other ranks, and DeepSpeed's own of its share
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
    away = {name: launch.offload in kinds for name, kinds in _OFFLOADED.items()}
    pieces = min(supervised_in_pack * shapes.vocabulary, _PIECE)
    weights = total - num_trained * (1 - 1 / ranks) if launch.fsdp else total / (ranks if zero >= 3 else 1)
    halved = _halved(shapes, counts, training, launch)
    if away["weights"]:
        weights = total - num_trained if launch.fsdp else 0.0
    gradients = 4 * num_trained / (ranks if zero >= 2 or launch.fsdp == "reshard" else 1)
    return Memory(
        weights=4 * weights - 2 * halved,
        copies=_copies(shapes, training, launch, total, num_trained, ranks),
        gradients=0.0 if away["gradients"] or (launch.fsdp and away["weights"]) else gradients,
        optimizer=0.0 if away["optimizer"] else 8 * num_trained / (ranks if zero >= 1 or launch.fsdp else 1),
        buckets=2 * 4 * min(_BUCKET, total) if zero else 0.0,  # two: one is sent while the other is filled
        activations=_activations(shapes, training, longest_pack, images_in_pack)
        * (1 if training.precision == "bf16" else 2),
        logits=3 * 4 * pieces,  # logits, their softmax, their gradient
    )


# offloaded with what: DeepSpeed's optimizer in the CPU's memory steps gradients there
_OFFLOADED: dict[str, tuple[str, ...]] = {
    "weights": ("all",),
    "gradients": ("optimizer", "all"),
    "optimizer": ("optimizer", "all"),
}


def _halved(shapes: Shapes, counts: Sequence[PartCount], training: Training, launch: Launch) -> float:
    """Count the frozen numbers that lie on a GPU in bf16: train/frozen.py. An embedding does not, nor a head that is tied to it."""
    if training.precision != "bf16" or launch.zero_stage is not None:
        return 0.0
    frozen = {count.part: count.num_parameters - count.num_trained for count in counts}
    opened = trained("language", training.language.trainable_from_layer, shapes.language_layers)
    embedding = 0 if opened.rest and training.language.lora is None else shapes.head
    return frozen["vision"] + max(0, frozen["language"] - embedding)


def _copies(shapes: Shapes, training: Training, launch: Launch, total: float, num_trained: float, ranks: int) -> float:
    """Add up what is held of weights a second time -> bytes."""
    mixed, zero = training.precision == "bf16", launch.zero_stage or 0
    number = 2 if mixed else 4  # bytes of a gathered one
    block = max(shapes.language_block, shapes.vision_block)
    if launch.fsdp == "keep":
        return number * num_trained
    if launch.fsdp == "reshard":  # one block, and the next that is fetched; the gradient of one on its way
        return (2 * number + 4) * block + 4 * min(2.0 * shapes.head, num_trained)
    own = 4 * num_trained / ranks if zero and launch.offload is None else 0.0
    if zero >= 3:
        return own + 4 * min(_LIVE, total)
    kept = (
        _kept(training, shapes, zero > 0) if mixed else 0.0
    )  # autocast lets go of its copies where blocks are made again
    return own + 2 * min(kept, total if zero else num_trained) + (2 * block if mixed else 0.0)


def _kept(training: Training, shapes: Shapes, copied: bool) -> float:
    """Count the weights whose bf16 copies wait for the backward pass. `copied`: frozen ones too, which are fp32."""
    opened = trained("language", training.language.trainable_from_layer, shapes.language_layers).blocks
    seen = trained("vision", training.vision.trainable_from_layer, shapes.used_blocks).blocks
    carried = shapes.language_layers if copied and enters_language(training) else len(opened)
    language = 0.0 if training.recomputes("language") else carried * shapes.language_block
    vision = 0.0 if training.recomputes("vision") else len(seen) * shapes.vision_block
    return language + vision + shapes.connector + (shapes.head if opened else 0)


def _activations(shapes: Shapes, training: Training, tokens: float, images: float) -> float:
    def stack(blocks: int, trained: int, width: int, numbers: float, places: float, again: bool) -> float:
        a_number = (_A_NUMBER * trained + _A_FROZEN * (blocks - trained)) / max(1, blocks)
        one = places * (a_number * numbers + _A_CHANNEL * width)
        return places * width * blocks * _RESIDUAL + one if again else blocks * one

    opened = trained("language", training.language.trainable_from_layer, shapes.language_layers).blocks
    blocks = shapes.language_layers if enters_language(training) else len(opened)
    again = training.recomputes("language")
    language = stack(blocks, len(opened), shapes.language_width, shapes.language_numbers, tokens, again)
    patches = images * shapes.patches
    vision = trained("vision", training.vision.trainable_from_layer, shapes.used_blocks)
    # frozen: forward alone, where a block's activations go when the next one has its own
    seen, again = (1, False) if vision.first is None else (len(vision.blocks), training.recomputes("vision"))
    return language + stack(seen, seen, shapes.vision_width, shapes.vision_numbers, patches, again)
