"""Section `model` of a recipe: the three parts, and how a picture becomes their input."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from tinyllava_core.errors import unknown
from tinyllava_core.frozen import Frozen
from tinyllava_core.parts import CONNECTORS, LANGUAGES, VISIONS

ImageMode = Literal["square", "pad"]


class Model(Frozen):
    """Which parts the model is made of, and how a picture becomes their input."""

    vision: str = Field(description="Vision encoder: a key of parts.VISIONS.")
    connector: str = Field("mlp", description="Connector: a key of parts.CONNECTORS.")
    connector_layers: int = Field(2, ge=1, description="Linear layers of the `mlp` connector. Paper: 2, GELU between.")
    language: str = Field(description="Language model: a key of parts.LANGUAGES.")
    vision_layer: int = Field(
        -2, le=-1, description="Hidden state the connector reads, counted from the end. LLaVA-1.5: -2."
    )
    image_mode: ImageMode = Field(
        "square",
        description="square: the encoder's own processor. pad: first pasted on a square of the mean colour (LLaVA-1.5 sft).",
    )

    @field_validator("vision")
    @classmethod
    def _known_vision(cls, value: str) -> str:
        return _key("vision encoder", value, VISIONS)

    @field_validator("connector")
    @classmethod
    def _known_connector(cls, value: str) -> str:
        return _key("connector", value, CONNECTORS)

    @field_validator("language")
    @classmethod
    def _known_language(cls, value: str) -> str:
        return _key("language model", value, LANGUAGES)


def _key(kind: str, value: str, table: dict[str, Any]) -> str:
    if value not in table:
        raise ValueError(str(unknown(kind, value, table)))
    return value
