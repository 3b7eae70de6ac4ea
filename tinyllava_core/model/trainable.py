"""Which parameters a stage trains, in the open; and the check, afterwards, that just these moved. No optimizer here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tinyllava_core.errors import BadInput
from tinyllava_core.model import lora
from tinyllava_core.model.tinyllava import TinyLlava, part_of
from tinyllava_core.settings.trained import Trained, trained
from tinyllava_core.settings.training import PART_NAMES, Training

BLOCK = re.compile(r"\.layers?\.(\d+)\.")
# Behind the last block, or for pre-training alone (DINOv2's mask token): no hidden state depends on these.
LAST_NORM = (
    "post_layernorm",
    ".layernorm.",
    ".norm.",
    "vision_tower.rms_norm.",
)  # the encoder's own: read where the layer is `final`
BEHIND = (*LAST_NORM, ".head.", "pooler", "mask_token")

Digest = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartRow:
    """One part in one stage: a line of parts.jsonl and of the table that is printed."""

    part: str
    num_parameters: int
    num_trained: int
    trainable_from_layer: int | None
    lr: float | None
    num_tensors_trained: int
    num_tensors_moved: int
    moved: bool


def choose(model: TinyLlava, training: Training) -> None:
    """Set `requires_grad` of every parameter as the stage says; what can never get a gradient stays frozen.

    Raises BadInput, by name, if a part that is to be trained has nothing to train.
    """
    trained_blocks, final = _trained(model, training), model.config.final_norm
    behind = [piece for piece in BEHIND if not (final and piece in LAST_NORM)]
    for name, parameter in model.named_parameters():
        part = part_of(name)
        if part == "connector":
            chosen = training.connector.trainable_from_layer is not None
            if name.startswith("model.image_newline."):  # only anyres reads it
                chosen = chosen and training.image_mode in (None, "anyres")
        else:
            chosen = trained_blocks[part].holds(_block(name))
        if part == "vision" and _block(name) is None:
            chosen = chosen and not any(piece in name for piece in behind)
        if part == "language" and training.language.lora is not None:
            chosen = chosen and lora.MARK in name
        parameter.requires_grad_(chosen)
    for part in PART_NAMES:
        first = training.part(part).trainable_from_layer
        if first is not None and not any(
            p.requires_grad for name, p in model.named_parameters() if part_of(name) == part
        ):
            raise BadInput(f"{part}.trainable_from_layer = {first}: the {part} part has nothing to train from there on")


def _trained(model: TinyLlava, training: Training) -> dict[str, Trained]:
    config = model.config
    depths = {"vision": config.vision_config.num_hidden_layers, "language": config.text_config.num_hidden_layers}
    layer = config.vision_feature_layer
    return {
        part: trained(part, training.part(part).trainable_from_layer, depth, layer) for part, depth in depths.items()
    }


def _block(name: str) -> int | None:
    found = BLOCK.search(name)
    return int(found.group(1)) if found else None


def groups(model: TinyLlava, training: Training) -> list[dict[str, object]]:
    """Make the optimizer's groups: per part, matrices with weight decay and the rest without. Frozen parts have none."""
    found: list[dict[str, object]] = []
    for part in PART_NAMES:
        row = training.part(part)
        mine = [p for name, p in model.named_parameters() if part_of(name) == part and p.requires_grad]
        decay = training.weight_decay if row.weight_decay is None else row.weight_decay
        for weight_decay, members in (
            (decay, [p for p in mine if p.ndim > 1]),
            (0.0, [p for p in mine if p.ndim <= 1]),
        ):
            if members:
                peak = training.lr if row.lr is None else row.lr
                found.append(
                    {"params": members, "weight_decay": weight_decay, "lr": peak, "peak_lr": peak, "part": part}
                )
    return found


def tensor_digests(model: nn.Module) -> dict[str, Digest]:
    """Sum up every parameter's bits, to see later whether it moved."""
    return digests(dict(model.named_parameters()))


def digests(tensors: Mapping[str, Tensor]) -> dict[str, Digest]:
    """Sum up the bits of each tensor where it lies, once plainly and once weighted by their places; one wait for all of them."""
    found = [_digest(tensor) for tensor in tensors.values()]
    sums = torch.stack(found).tolist() if found else []
    return {name: (first, second) for name, (first, second) in zip(tensors, sums, strict=True)}


def part_rows(model: TinyLlava, training: Training, moved: set[str]) -> list[PartRow]:
    """Say of each part what was to be trained, and how many of its tensors are among those that `moved`."""
    rows = []
    for part in PART_NAMES:
        mine = {name: p for name, p in model.named_parameters() if part_of(name) == part}
        trained = {name for name, p in mine.items() if p.requires_grad}
        stage_part = training.part(part)
        rows.append(
            PartRow(
                part=part,
                num_parameters=sum(p.numel() for p in mine.values()),
                num_trained=sum(mine[name].numel() for name in trained),
                trainable_from_layer=stage_part.trainable_from_layer,
                lr=(stage_part.lr or training.lr) if trained else None,
                num_tensors_trained=len(trained),
                num_tensors_moved=len(moved & set(mine)),
                moved=bool(moved & set(mine)),
            )
        )
    return rows


def not_as_wanted(rows: list[PartRow], stage: str) -> list[str]:
    """Say of each part of which not just the trained tensors moved how many did."""
    return [
        unmoved(stage, row.part, row.num_tensors_trained, row.num_tensors_moved)
        for row in rows
        if row.num_tensors_moved != row.num_tensors_trained
    ]


def unmoved(stage: str, part: str, num_trained: int, num_moved: int) -> str:
    """Say that a part did not move as it was to."""
    wanted = "trained" if num_trained else "frozen"
    return f"stage {stage}: part {part} was to be {wanted}, {num_trained} of its tensors should have moved, {num_moved} did"


_CHUNK = 2**24  # numbers whose bits stand as int64 at once


def _digest(tensor: Tensor) -> Tensor:
    """[any] -> [2] int64, modulo 2^64."""
    integer = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    flat = tensor.detach().contiguous().view(-1).view(integer)
    total = torch.zeros(2, dtype=torch.int64, device=flat.device)
    for first, chunk in zip(range(0, len(flat), _CHUNK), flat.split(_CHUNK), strict=True):
        bits = chunk.to(torch.int64)
        places = torch.arange(first + 1, first + len(bits) + 1, device=flat.device)
        total += torch.stack([bits.sum(), (bits * places).sum()])
    return total
