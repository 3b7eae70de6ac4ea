"""Sections `mix`, `duplicates` and `contamination` of a training stage: which records of which sources, and how much of each."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from tinyllava_core.frozen import Frozen

Action = Literal["report", "drop"]


class Portion(Frozen):
    """How much of one component of a source. Written `ocr_vqa: 0.5`, it is a share."""

    share: float | None = Field(
        None, ge=0, le=1000, description="Part of the component per epoch; 0: none of it. null: the source's share."
    )
    cap: int | None = Field(None, ge=1, description="At most so many records of it (after the share). null: no limit.")


class Choose(Frozen):
    """How much of a hub's data set is brought here at all. Written `choose: 10000`, it is a number of records."""

    records: int = Field(ge=1, description="So many records; fewer where there are no more.")
    filters: tuple[str, ...] = Field(
        (),
        description="SQL conditions as a source's `filters`, over columns that need no picture: what they leave is chosen from.",
    )


class MixEntry(Frozen):
    """One source of a stage's mix."""

    source: str = Field(
        description="A name in data_manifests/, or a path to a manifest (relative paths: from the working directory)."
    )
    share: float = Field(
        1.0,
        ge=0,
        le=1000,
        description="Part of the source per epoch: 0.5 a seeded half, 2.0 everything twice; 0 with components.",
    )
    cap: int | None = Field(None, ge=1, description="At most so many records (after the share). null: no limit.")
    components: dict[str, Portion] = Field(
        default_factory=dict,
        description="Another share or a cap for components of the source, by name; what is not named keeps `share`.",
    )
    filters: tuple[str, ...] = Field(
        (),
        description="SQL conditions over a record's columns (source, num_turns, width and others: the view `records`); a record is kept where every one of them is true.",
    )
    one_question_per_record: bool = Field(
        False,
        exclude_if=lambda apart: not apart,  # mixes from before there was this keep their fingerprints
        description="Take a record with several questions apart into one for each, with the pictures that stood in front of it; they "
        "stand beside each other in the mix. Shares and caps count records, not questions. false: a record is one conversation.",
    )
    scores: str | None = Field(
        None,
        description="A Parquet table with record_id and columns of one's own, which filters may name. null: none.",
    )

    choose: Choose | None = Field(
        None,
        exclude_if=lambda choose: choose is None,
        description="Bring only so many records of a hub's Parquet here: the texts of all are read, then the row groups with chosen "
        "rows alone are fetched. Shares and caps are of what was brought. The same in every stage. null: all of it.",
    )

    @field_validator("choose", mode="before")
    @classmethod
    def _a_number_is_of_records(cls, given: Any) -> Any:
        return {"records": given} if isinstance(given, int) and not isinstance(given, bool) else given

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


class Duplicates(Frozen):
    """What is done about records that say the same about the same picture."""

    exact: Action | None = Field(
        "report",
        description="Same text (but for case and white space), same pixels. report, drop all but the first, or null: do not look.",
    )
    near: Action | None = Field(
        None,
        description="Same text, pictures that look the same. report, drop all but the first, or null: do not look.",
    )
    max_distance: int = Field(
        3,
        ge=0,
        le=11,
        description="Bits in which the perceptual hashes (of 64) of pictures that look the same may differ.",
    )
    within: Literal["source", "mix"] = Field("mix", description="Look in each source by itself, or in the whole mix.")

    @property
    def dropping(self) -> Duplicates:
        """What of it changes a mix: what drops records."""
        if self.exact != "drop":
            return Duplicates(exact=None)
        return self if self.near == "drop" else Duplicates(exact="drop", within=self.within)

    @property
    def reporting(self) -> Duplicates:
        """What of it is told of a finished mix. `exact` null: nothing."""
        if "report" not in (self.exact, self.near):
            return Duplicates(exact=None)
        near = {"near": "report", "max_distance": self.max_distance} if self.near == "report" else {}
        return Duplicates.model_validate({"exact": "report", "within": self.within, **near})

    @model_validator(mode="after")
    def _has_an_effect(self) -> Self:
        if self.near is not None and self.exact is None:
            raise ValueError("near without exact: what is exactly the same looks the same too; set exact")
        if self.near == "drop" and self.exact == "report":
            raise ValueError("near: drop would keep exact copies of what it drops; set exact: drop")
        if self.near is None and self.max_distance != 3:
            raise ValueError("max_distance has no effect without near: set near to report or drop")
        if self.exact is None and self.within != "mix":
            raise ValueError("within has no effect without exact: set exact to report or drop")
        return self


class Contamination(Frozen):
    """What is done about records whose pictures are a benchmark's."""

    action: Action | None = Field("report", description="report, drop the record, or null: do not look.")
    against: tuple[str, ...] | None = Field(
        None,
        description="Benchmarks: names in data_manifests/, or paths to manifests. null: those of evaluate.benchmarks.",
    )
    max_distance: int | None = Field(
        8,
        ge=0,
        le=11,
        description="Bits in which the perceptual hashes (of 64) of two pictures that look the same may differ; "
        "re-encoding and halving move a photograph's by up to 8 (data/inspect/phash.py). null: compare none.",
    )
    ids: bool = Field(
        True, description="Also compare the COCO, Visual Genome (and GQA) and OpenImages ids in the files' names."
    )
    vg_image_data: str | None = Field(
        None,
        description="Path of Visual Genome's image_data.json, which says which of its pictures are COCO's. null: not used.",
    )

    @model_validator(mode="after")
    def _has_an_effect(self) -> Self:
        if self.vg_image_data is not None and not self.ids:
            raise ValueError("vg_image_data has no effect with ids: false; remove one of them")
        fields = {name: field.default for name, field in type(self).model_fields.items() if name != "action"}
        if self.action is None and any(getattr(self, name) != default for name, default in fields.items()):
            raise ValueError("action null: nothing is compared, so the other fields have no effect; remove them")
        return self
