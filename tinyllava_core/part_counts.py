"""How many parameters a stage trains, part by part: counted beforehand, without weights, without torch.

The numbers of each row are in parts/counts.json, written by `python -m tinyllava_core.model.table --write` from tensors on the
meta device; a test holds them, and these sums, against the model itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tinyllava_core.errors import BadInput
from tinyllava_core.parts import VISIONS, language_row
from tinyllava_core.settings.model import Model
from tinyllava_core.settings.training import Training

COUNTS = Path(__file__).parent / "parts" / "counts.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartCount:
    """One part in one stage. None: its row's numbers are not known (a model that the recipe names by its folder)."""

    part: str
    num_parameters: int | None
    num_trained: int | None
    trainable_from_layer: int | None


def part_counts(model: Model, training: Training) -> list[PartCount]:
    """Count vision, connector and language of one stage."""
    vision, language = _row("vision", model.vision), _row("language", model.language)
    connector = model.shape.num_parameters
    first = training.connector.trainable_from_layer
    return [
        PartCount(
            part="vision",
            num_parameters=vision["total"] if vision else None,
            num_trained=_vision_trained(model, vision, training.vision.trainable_from_layer) if vision else None,
            trainable_from_layer=training.vision.trainable_from_layer,
        ),
        PartCount(
            part="connector",
            num_parameters=connector,
            num_trained=0 if first is None else connector,
            trainable_from_layer=first,
        ),
        PartCount(
            part="language",
            num_parameters=language["total"] + _adapters(model, language, training) if language else None,
            num_trained=_language_trained(model, language, training) if language else None,
            trainable_from_layer=training.language.trainable_from_layer,
        ),
    ]


def check_something_to_train(model: Model, training: Training, stage: str) -> None:
    """Raise BadInput if a part that the stage is to train has nothing that could be trained, by name."""
    last = {
        "vision": VISIONS[model.vision].num_layers + model.vision_layer,
        "language": language_row(model.language).num_layers - 1,
    }
    for part, last_block in last.items():
        first = training.part(part).trainable_from_layer
        if first is not None and first > last_block:
            raise BadInput(
                f"{stage}.{part}.trainable_from_layer = {first}: the last block that can be trained is {last_block}, counted from 0"
            )
    if training.connector.trainable_from_layer is not None and model.shape.num_parameters == 0:
        raise BadInput(
            f"{stage}.connector.trainable_from_layer = 0: connector {model.connector!r} has no parameters; set it to null"
        )


def _vision_trained(model: Model, row: dict[str, int], first: int | None) -> int:
    if first is None:
        return 0
    layers = VISIONS[model.vision].num_layers
    used = layers + model.vision_layer + 1  # blocks in front of the hidden state that the connector reads
    if first == 0:
        return row["total"] - row["behind"] - (layers - used) * row["block"]
    return max(0, used - first) * row["block"]


def _language_trained(model: Model, row: dict[str, int], training: Training) -> int:
    first = training.language.trainable_from_layer
    if first is None:
        return 0
    if training.language.lora is not None:
        return _adapters(model, row, training)
    if first == 0:
        return row["total"]
    return max(0, language_row(model.language).num_layers - first) * row["block"]


def _adapters(model: Model, row: dict[str, int], training: Training) -> int:
    lora, first = training.language.lora, training.language.trainable_from_layer
    if lora is None or first is None:
        return 0
    return lora.rank * row["linear"] * (language_row(model.language).num_layers - first)


def _row(kind: str, name: str) -> dict[str, int] | None:
    return _counts()[kind].get(name)


@cache
def _counts() -> dict[str, dict[str, dict[str, int]]]:
    read: dict[str, dict[str, dict[str, int]]] = json.loads(COUNTS.read_text(encoding="utf-8"))
    return read
