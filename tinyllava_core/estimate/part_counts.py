"""How many parameters a stage trains, part by part: from counted sizes and what the recipe opens. Without weights, without torch."""

from __future__ import annotations

from dataclasses import dataclass

from tinyllava_core.estimate.sizes import Size, sizes
from tinyllava_core.settings.model import Model
from tinyllava_core.settings.trained import Trained, trained_parts
from tinyllava_core.settings.training import Training


@dataclass(frozen=True, slots=True, kw_only=True)
class PartCount:
    """One part in one stage."""

    part: str
    num_parameters: int
    num_trained: int


def part_counts(model: Model, training: Training) -> list[PartCount]:
    """Count vision, connector and language of one stage."""
    vision, language = sizes(model)
    trained, connector = trained_parts(model, training), model.shape.num_parameters
    adapters, lora = 0, training.language.lora
    opened = _opened(language, trained["language"])
    if lora is not None:
        blocks = trained["language"].blocks
        opened = adapters = lora.rank * sum(language.linear[blocks.start : blocks.stop])
    open_connector = 0 if training.connector.trainable_from_layer is None else connector
    return [
        PartCount(part="vision", num_parameters=vision.total, num_trained=_opened(vision, trained["vision"])),
        PartCount(part="connector", num_parameters=connector, num_trained=open_connector),
        PartCount(part="language", num_parameters=language.total + adapters, num_trained=opened),
    ]


def _opened(size: Size, trained: Trained) -> int:
    rest = size.total - sum(size.blocks) - size.behind
    return sum(size.blocks[trained.blocks.start : trained.blocks.stop]) + (rest if trained.rest else 0)
