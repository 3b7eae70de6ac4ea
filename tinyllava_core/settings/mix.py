"""Section `mix` of a training stage: which records of which sources, and how much of each."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from tinyllava_core.frozen import Frozen


class Portion(Frozen):
    """How much of one component of a source. Written `ocr_vqa: 0.5`, it is a share."""

    share: float | None = Field(
        None, ge=0, description="Part of the component per epoch; 0: none of it. null: the source's share."
    )
    cap: int | None = Field(None, ge=1, description="At most so many records of it (after the share). null: no limit.")


class MixEntry(Frozen):
    """One source of a stage's mix."""

    source: str = Field(
        description="A name in data_manifests/, or a path to a manifest (relative paths: from the working directory)."
    )
    share: float = Field(
        1.0,
        ge=0,
        description="Part of the source per epoch: 0.5 a seeded half, 2.0 everything twice; 0 with components.",
    )
    cap: int | None = Field(None, ge=1, description="At most so many records (after the share). null: no limit.")
    components: dict[str, Portion] = Field(
        default_factory=dict,
        description="Another share or a cap for components of the source, by name; what is not named keeps `share`.",
    )
    filters: tuple[str, ...] = Field(
        (),
        description="SQL conditions over a record's columns (docs/mix.md); a record is kept where every one of them is true.",
    )
    scores: str | None = Field(
        None,
        description="A Parquet table with record_id and columns of one's own, which filters may name. null: none.",
    )

    @field_validator("components", mode="before")
    @classmethod
    def _a_number_is_a_share(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {name: {"share": part} if isinstance(part, int | float) else part for name, part in given.items()}

    @model_validator(mode="after")
    def _something_is_taken(self) -> Self:
        if self.share == 0 and not any(part.share for part in self.components.values()):
            raise ValueError("share 0 takes nothing: raise it, give a component a share, or take the source out")
        if idle := next((name for name, part in self.components.items() if part == Portion()), None):
            raise ValueError(f"components.{idle}: neither share nor cap is set, so it has no effect; remove it")
        if self.scores is not None and not self.filters:
            raise ValueError("scores without filters have no effect: add a filter, or remove scores")
        return self
