"""Published scores as data (published.yaml): what others measured, where it stands, and what to think of beside ours.

A table or page takes its published numbers from here; none is typed into a text by hand.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import Field, model_validator

from tinyllava_core.frozen import Frozen

FILE = Path(__file__).with_suffix(".yaml")


class Source(Frozen):
    """Where numbers stand."""

    where: str = Field(description="Repository with commit and file, or the page.")
    caveat: str = Field(description="Harness, prompt, and what else keeps them from being compared to the digit.")


class Published(Frozen):
    """One published model: its parts where they are ours too, and its scores."""

    model: str = Field(description="As the source calls it, or as it is known.")
    vision: str | None = Field(None, description="Key of parts.VISIONS, if we have that encoder.")
    language: str | None = Field(None, description="Key of parts.LANGUAGES, if we have that language model.")
    recipe: str | None = Field(None, description="The recipe of ours that it was trained by, or a word for theirs.")
    source: str = Field(description="Key of `sources`.")
    caveat: str | None = Field(None, description="Of this row alone.")
    scores: dict[str, float] = Field(min_length=1, description="By benchmark manifest, in the benchmark's own unit.")


class Table(Frozen):
    """All of published.yaml."""

    sources: dict[str, Source]
    rows: tuple[Published, ...]

    @model_validator(mode="after")
    def _every_row_says_where(self) -> Table:
        lost = next((row for row in self.rows if row.source not in self.sources), None)
        if lost is not None:
            raise ValueError(f"row {lost.model!r}: source {lost.source!r} is not among the sources")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """A published score beside one of ours, both in the benchmark's own unit."""

    benchmark: str
    ours: float
    stderr: float  # of ours: no source gives its own
    published: float
    model: str
    where: str
    caveat: str

    @property
    def difference(self) -> float:
        """Give ours minus theirs."""
        return self.ours - self.published

    @property
    def is_within_error(self) -> bool:
        """Tell whether the difference is one that two draws of such a set of questions may show: 1.96 root-two of our error.

        It leaves the spread over trainings out, which nobody published.
        """
        return abs(self.difference) <= 1.96 * math.sqrt(2) * self.stderr


@cache
def table() -> Table:
    """Read published.yaml, once."""
    return Table.read(FILE)


def same_model(vision: str, language: str, recipe: str) -> list[Published]:
    """Give the published rows of the same encoder, language model and recipe; a variant's recipe `base-x` is none of them."""
    return [row for row in table().rows if (row.vision, row.language, row.recipe) == (vision, language, recipe)]


def beside(benchmark: str, ours: float, stderr: float, rows: Iterable[Published]) -> list[Beside]:
    """Lay the rows that have a score on this benchmark beside ours, as the file orders them."""
    sources = table().sources
    return [
        Beside(
            benchmark=benchmark,
            ours=ours,
            stderr=stderr,
            published=row.scores[benchmark],
            model=row.model,
            where=sources[row.source].where,
            caveat="; ".join(filter(None, (sources[row.source].caveat, row.caveat))),
        )
        for row in rows
        if benchmark in row.scores
    ]
