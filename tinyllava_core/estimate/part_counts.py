"""How many parameters a stage trains, part by part: from counted sizes and what the recipe opens. Without weights, without torch."""

from __future__ import annotations

from dataclasses import dataclass

from tinyllava_core.estimate.sizes import Size, sizes
from tinyllava_core.parts import VISIONS, language_row
from tinyllava_core.parts.architecture import VISION_CONFIGS
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
    trained, connector = trained_parts(model, training), model.shape.num_parameters + newline(model)
    adapters, lora, more = 0, training.language.lora, _marks(model, language)
    opened = _opened(language, trained["language"]) + (more if trained["language"].rest else 0)
    if lora is not None:
        blocks = trained["language"].blocks
        opened = adapters = lora.rank * sum(language.linear[blocks.start : blocks.stop])
    open_connector = 0 if training.connector.trainable_from_layer is None else connector
    norm = _norm(model) if model.vision_layer == "final" and trained["vision"].rest else 0
    return [
        PartCount(part="vision", num_parameters=vision.total, num_trained=_opened(vision, trained["vision"]) + norm),
        PartCount(part="connector", num_parameters=connector, num_trained=open_connector),
        PartCount(part="language", num_parameters=language.total + more + adapters, num_trained=opened),
    ]


def _norm(model: Model) -> int:
    """Count the encoder's own norm, all that is read of it behind its last block: a scale and a shift, of AIMv2 a scale alone."""
    kind = VISION_CONFIGS.get(model.vision.partition("=")[0], {}).get("model_type")
    return VISIONS[model.vision].width * (1 if kind == "aimv2_vision_model" else 2)


def newline(model: Model) -> int:
    """Count the embedding that ends a row of an anyres picture."""
    return model.shape.language_width if model.scheme.mode == "anyres" else 0


def _marks(model: Model, language: Size) -> int:
    """Count the rows of embedding and head that the places of tiles need beyond those that are there."""
    row = language_row(model.language)
    if row.num_tokens is None or not model.scheme.marks:
        return 0
    rows = max(0, row.num_tokens + 1 + len(model.scheme.marks) - language.vocabulary)
    return rows * row.width * (1 if row.config and row.config.get("tie_word_embeddings") else 2)


def _opened(size: Size, trained: Trained) -> int:
    rest = size.total - sum(size.blocks) - size.behind
    return sum(size.blocks[trained.blocks.start : trained.blocks.stop]) + (rest if trained.rest else 0)
