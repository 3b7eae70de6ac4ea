"""Section `data` of a recipe: where this machine already has published data, so that it is not downloaded again."""

from __future__ import annotations

from pydantic import Field

from tinyllava_core.frozen import Frozen


class Data(Frozen):
    """Own copies of published data; what is not named here is downloaded."""

    root: str | None = Field(
        None,
        description="A folder in LLaVA's layout (coco/train2017, gqa/images, ...): what a manifest's `tree` names and is "
        "there is used in place.",
    )
    local: dict[str, str] = Field(
        default_factory=dict,
        description="Manifest's name -> an image set's folder, a source's annotation file, a benchmark's file or folder.",
    )
