"""Section `inspect` of a recipe: the limits that records and images must keep. Whether a stage goes on is max_lost_fraction's."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tinyllava_core.frozen import Frozen


class Inspect(Frozen):
    """What is too large, too small or too long to be trained on, and what is done about EXIF."""

    max_pixels: int = Field(
        178_956_970,
        ge=1,
        le=178_956_970,
        description="Pixels of an image; more are refused before decoding. Source: twice Pillow's MAX_IMAGE_PIXELS, where it refuses a decompression bomb itself.",
    )
    max_aspect: float = Field(
        200,
        ge=1,
        description="Longer side over shorter side. Source: the limit of Qwen2-VL's image processor; DataComp's filter would be 3.",
    )
    min_side: int = Field(1, ge=1, description="Pixels of an image's shorter side. DataComp's filter would be 200.")
    exif_orientation: Literal["keep", "apply"] = Field(
        "keep",
        description="keep: show the pixels as stored, as the reference does; boxes in the text refer to them. apply: turn the picture as its EXIF says, and write it anew.",
    )
    max_turns: int | None = Field(None, ge=2, description="Turns of a conversation. null: no limit.")
    max_chars: int | None = Field(None, ge=1, description="Characters of a conversation's turns. null: no limit.")
