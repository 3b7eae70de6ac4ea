"""The numbers of a model that an estimate needs: sizes of blocks, widths, tokens. No weights."""

from __future__ import annotations

from dataclasses import dataclass

from tinyllava_core.estimate.sizes import average, sizes
from tinyllava_core.parts import language_row
from tinyllava_core.settings.model import Model
from tinyllava_core.settings.trained import trained


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """One model's numbers."""

    language_layers: int
    language_width: int
    language_block: float  # parameters of one block, on average
    language_numbers: float  # that go into and come out of its matrices, of one token
    last_mlp: float  # parameters of the last block's MLP, which runs at supervised places alone
    attention_width: int  # heads x width of a head
    vocabulary: int
    head: int  # numbers of the output matrix
    used_blocks: int  # of the encoder, up to the one that the connector reads
    vision_width: int
    vision_block: float
    vision_numbers: float
    patches: int  # of one image
    connector: int  # parameters
    connector_a_token: float  # numbers that one of its tokens passes
    image_tokens: int


def shapes(model: Model) -> Shapes:
    """Collect a model's numbers."""
    language, vision = language_row(model.language), model.seen
    encoder, reader = sizes(model)
    return Shapes(
        language_layers=language.num_layers,
        language_width=language.width,
        language_block=average(reader.blocks),
        language_numbers=average(reader.linear),
        last_mlp=reader.last_mlp,
        attention_width=reader.attention_width,
        vocabulary=reader.vocabulary,
        head=reader.vocabulary * language.width,
        used_blocks=trained("vision", None, vision.num_layers, model.layer).num_used,
        vision_width=vision.width,
        vision_block=average(encoder.blocks),
        vision_numbers=average(encoder.linear),
        patches=vision.num_patches // max(1, len(vision.mixture)),  # each encoder of a mixture sees its own
        connector=model.shape.num_parameters,
        connector_a_token=float(model.shape.num_parameters),
        image_tokens=model.tokens_per_image,
    )
