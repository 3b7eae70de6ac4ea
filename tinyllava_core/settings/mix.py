"""Section `mix` of a training stage: which sources, and how much of each."""

from __future__ import annotations

from pydantic import Field

from tinyllava_core.frozen import Frozen


class MixEntry(Frozen):
    """One source of a stage's mix."""

    source: str = Field(
        description="A name in data_manifests/, or a path to a manifest (relative paths: from the working directory)."
    )
    share: float = Field(
        1.0, gt=0, description="Part of the source per epoch: 0.5 a seeded half, 2.0 everything twice."
    )
    cap: int | None = Field(None, ge=1, description="At most so many records (after the share). null: no limit.")
