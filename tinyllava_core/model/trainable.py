"""Which parameters a stage trains, in the open; and the check, afterwards, that just these moved. No optimizer here."""

from __future__ import annotations

import hashlib
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
BEHIND = ("post_layernorm", ".head.", "pooler", ".layernorm.", "mask_token")


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
    trained_blocks = _trained(model, training)
    for name, parameter in model.named_parameters():
        part = part_of(name)
        if part == "connector":
            chosen = training.connector.trainable_from_layer is not None
        else:
            chosen = trained_blocks[part].holds(_block(name))
        if part == "vision" and _block(name) is None:
            chosen = chosen and not any(piece in name for piece in BEHIND)
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


def blocks(part: nn.Module) -> list[nn.Module]:
    """List a part's blocks, in order: the longest list of modules in it."""
    lists = [list(module) for module in part.modules() if isinstance(module, nn.ModuleList)]
    return max(lists, key=len, default=[])


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


def tensor_digests(model: nn.Module) -> dict[str, bytes]:
    """Hash every parameter's bits, to see later whether it moved."""
    return {name: _digest(parameter) for name, parameter in model.named_parameters()}


def part_rows(model: TinyLlava, training: Training, before: Mapping[str, bytes]) -> list[PartRow]:
    """Compare with the digests `before` training -> a row for each part."""
    moved = {name for name, digest in tensor_digests(model).items() if digest != before[name]}
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


def check_moved(rows: list[PartRow], stage: str) -> None:
    """Raise RuntimeError, by name, if a part that was to be trained has a tensor that did not move, or a frozen one moved."""
    for row in rows:
        if row.num_tensors_moved != row.num_tensors_trained:
            wanted = "trained" if row.num_tensors_trained else "frozen"
            raise RuntimeError(
                f"stage {stage}: part {row.part} was to be {wanted}, {row.num_tensors_trained} of its tensors should have moved, "
                f"{row.num_tensors_moved} did; the checkpoint is not kept"
            )


def _digest(parameter: Tensor) -> bytes:
    flat = parameter.detach().to("cpu").contiguous().view(-1)
    return hashlib.blake2b(flat.view(torch.uint8).numpy().tobytes(), digest_size=16).digest()
