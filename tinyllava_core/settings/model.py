"""Section `model` of a recipe: the three parts, and how a picture becomes their input."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from tinyllava_core.errors import unknown
from tinyllava_core.frozen import Frozen
from tinyllava_core.parts import CONNECTORS, VISIONS, Shape, Vision, connector_shape, language_row
from tinyllava_core.parts.picture import ImageMode, Scheme
from tinyllava_core.settings.tiling import Tiling

Pixels = Literal["fast", "pil"]


class Model(Frozen):
    """Which parts the model is made of, and how a picture becomes their input."""

    vision: str = Field(description="Vision encoder: a key of parts.VISIONS, a folder or hub's name, or KEY=PLACE.")
    connector: str = Field("mlp", description="Connector: a key of parts.CONNECTORS.")
    connector_layers: int | None = Field(
        None, ge=1, description="Layers of the connector. null: its row's own; the paper's `mlp` has 2, GELU between."
    )
    connector_queries: int | None = Field(
        None, ge=1, description="Tokens of an image, for a connector with queries. null: its row's own."
    )
    connector_shrink: int | None = Field(
        None,
        ge=2,
        description="Side of the window of patches that becomes one token, for a connector that shrinks the grid. "
        "null: the smallest that divides the grid.",
    )
    connector_norm: bool | None = Field(
        None,
        exclude_if=lambda norm: norm is None,  # what has none keeps the fingerprints that it had before there was this
        description="pixel-shuffle: a layer norm in front of its MLP, as InternVL and LFM2-VL have it. null: none.",
    )
    language: str = Field(
        description="Language model: a key of parts.LANGUAGES, a folder or hub's name of a causal model of transformers, or KEY=PLACE."
    )
    vision_layer: Annotated[int, Field(le=-1)] | Literal["final"] = Field(
        -2,
        description="Hidden state the connector reads, counted from the end, before the encoder's last norm; LLaVA-1.5: -2. "
        "final: the last block's behind that norm, as nanoVLM, SmolVLM and InternVL read it.",
    )
    image_mode: ImageMode = Field(
        "square",
        description="square: the encoder's own processor. pad: first pasted on a square of the mean colour (LLaVA-1.5 sft). "
        "anyres (LLaVA-NeXT), tiles (nanoVLM, SmolVLM), dynamic (InternVL): the picture cut into tiles, and the whole of it. "
        "native: its own shape, up to so many patches (SigLIP 2 NaFlex, and any SigLIP).",
    )
    tiling: Tiling = Field(
        Tiling(),
        exclude_if=lambda tiling: (
            tiling == Tiling()
        ),  # what cuts nothing keeps the fingerprints that it had before there was this
        description="How the modes that cut a picture do it.",
    )
    pixels: Pixels = Field(
        "fast",
        description="How pictures are scaled. fast: torch's antialiased kernel on bytes, within one grey level of Pillow's "
        "nearly everywhere. pil: Pillow's own pixels, as in the published code, at several times the cost.",
    )

    @property
    def seen(self) -> Vision:
        """The encoder's row for pictures as this `image_mode` gives them."""
        row = VISIONS[self.vision]
        return row.native(self.tiling.max_patches) if self.image_mode == "native" else row

    @property
    def shape(self) -> Shape:
        """The connector's options, resolved against the parts it stands between."""
        return connector_shape(
            self.connector,
            self.seen,
            language_row(self.language).width,
            layers=self.connector_layers,
            queries=self.connector_queries,
            shrink=self.connector_shrink,
            norm=self.connector_norm,
        )

    @property
    def tokens_per_image(self) -> int:
        """Tokens that the language model reads of what the encoder takes at once: of an image, or of a tile of it."""
        return self.shape.num_tokens

    @property
    def scheme(self) -> Scheme:
        """How pictures are cut, resolved against the parts: what the plan counts with."""
        return self.tiling.scheme(self.image_mode, self.seen, self.shape)

    @property
    def layer(self) -> int:
        """Last block of the encoder that is read, counted from the end: `final` reads all of them."""
        return -1 if self.vision_layer == "final" else self.vision_layer

    @field_validator("vision")
    @classmethod
    def _known_vision(cls, value: str) -> str:
        _ = VISIONS[value]  # raises BadInput for what is none
        return value

    @field_validator("connector")
    @classmethod
    def _known_connector(cls, value: str) -> str:
        return _key("connector", value, CONNECTORS)

    @field_validator("language")
    @classmethod
    def _known_language(cls, value: str) -> str:
        language_row(value)
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Model:
        depth = VISIONS[self.vision].num_layers
        if -self.layer > depth:
            raise ValueError(
                f"vision_layer = {self.vision_layer}: the encoder has {depth} layers; expected -{depth} .. -1"
            )
        _ = self.scheme
        return self


def _key(kind: str, value: str, table: dict[str, Any]) -> str:
    if value not in table:
        raise ValueError(str(unknown(kind, value, table)))
    return value
