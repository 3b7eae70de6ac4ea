"""How many parameters a stage trains, part by part: counted beforehand, without weights, without torch.

The numbers of each row are in parts/counts.json, written by `python -m tinyllava_core.model.table --write` from tensors on the
meta device; a test holds them, and these sums, against the model itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tinyllava_core.settings.model import Model
from tinyllava_core.settings.trained import Trained, trained_parts
from tinyllava_core.settings.training import Training

COUNTS = Path(__file__).parents[1] / "parts" / "counts.json"


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
    trained = trained_parts(model, training)
    connector = model.shape.num_parameters
    first = training.connector.trainable_from_layer
    return [
        PartCount(
            part="vision",
            num_parameters=vision["total"] if vision else None,
            num_trained=_vision_trained(vision, trained["vision"]) if vision else None,
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
            num_parameters=language["total"] + _adapters(language, trained["language"], training) if language else None,
            num_trained=_language_trained(language, trained["language"], training) if language else None,
            trainable_from_layer=training.language.trainable_from_layer,
        ),
    ]


def _vision_trained(row: dict[str, int], trained: Trained) -> int:
    behind = row["behind"] + (trained.num_blocks - trained.num_used) * row["block"]
    rest = row["total"] - trained.num_used * row["block"] - behind
    return len(trained.blocks) * row["block"] + (rest if trained.rest else 0)


def _language_trained(row: dict[str, int], trained: Trained, training: Training) -> int:
    if training.language.lora is not None:
        return _adapters(row, trained, training)
    rest = row["total"] - trained.num_blocks * row["block"]
    return len(trained.blocks) * row["block"] + (rest if trained.rest else 0)


def _adapters(row: dict[str, int], trained: Trained, training: Training) -> int:
    lora = training.language.lora
    return 0 if lora is None else lora.rank * row["linear"] * len(trained.blocks)


def _row(kind: str, name: str) -> dict[str, int] | None:
    return _counts()[kind].get(name)


@cache
def _counts() -> dict[str, dict[str, dict[str, int]]]:
    read: dict[str, dict[str, dict[str, int]]] = json.loads(COUNTS.read_text(encoding="utf-8"))
    return read
