"""Successive halving: which variants of a study go on after a part of their last stage, by the loss on records that none trains on.

Source: Jamieson and Talwalkar, arXiv 1502.07943. It ranks what was measured; the trainings are flows/halving.py's.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import Field, field_validator

from tinyllava_core.frozen import Frozen

HEAD = ["variant", "measured after", "held-out loss", "compared", "what became of it"]


class Halving(Frozen):
    """Section `halving` of a study: what `tinyllava study NAME --halving` does."""

    at: tuple[float, ...] = Field(
        (0.25, 0.5), min_length=1, description="The parts of the last stage's steps after which variants are measured."
    )
    keep: float = Field(
        0.5, gt=0, lt=1, description="The part of the variants measured together that goes on, rounded up."
    )
    held_out: int = Field(
        200, ge=1, description="Records held out of the last stage to measure on, where the recipe holds out none."
    )

    @field_validator("at")
    @classmethod
    def _rising(cls, at: tuple[float, ...]) -> tuple[float, ...]:
        if not all(low < high for low, high in zip((0.0, *at), (*at, 1.0), strict=True)):
            raise ValueError("expected parts of the steps between 0 and 1, each larger than the one before")
        return at


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The loss after a part of a training's last stage."""

    step: int  # optimizer steps taken
    num_steps: int  # of the whole stage
    loss: float | None  # mean over the held-out records' supervised tokens; None: it cannot be had
    same: str  # two trainings with the same word here were measured on the same tokens after the same data
    why_alone: str = ""  # why its loss is not to be compared with any other's


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured(Part):
    """A part of a variant's training."""

    variant: str
    way: str  # its seed and order
    part: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where one variant stands after a part: whether it goes on, and among whom."""

    variant: str
    part: float
    step: int
    num_steps: int
    loss: float | None  # mean over its trainings
    num_compared: int  # variants of its group, itself among them
    goes_on: bool
    why_alone: str = ""

    def cells(self) -> list[str]:
        """Write it as a line under HEAD."""
        among = f"among {self.num_compared}" if self.num_compared > 1 else f"none: {self.why_alone}"
        loss = "" if self.loss is None else f"{self.loss:.4f}"
        after = f"{self.part:.0%}: step {self.step:,} of {self.num_steps:,}"
        return [self.variant, after, loss, among, "went on" if self.goes_on else "cut, not scored"]


def stand(measured: Sequence[Measured], keep: float) -> list[Standing]:
    """Rank the variants of each group by their mean loss; the best `keep` of a group go on, rounded up.

    A variant whose loss compares with no other's goes on: nothing speaks against it.
    """
    variants = list(dict.fromkeys(one.variant for one in measured))
    mine = {name: [one for one in measured if one.variant == name] for name in variants}
    groups: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for name, ones in mine.items():
        alone = any(one.loss is None or one.why_alone for one in ones)
        key = tuple(sorted((one.way, f"{name} alone" if alone else one.same) for one in ones))
        groups.setdefault(key, []).append(name)
    found = {}
    for names in groups.values():
        ranked = sorted(names, key=lambda name: _mean(mine[name]) or 0.0)
        going = set(ranked[: math.ceil(keep * len(names))])
        for name in names:
            found[name] = _standing(mine[name], len(names), name in going)
    return [found[name] for name in variants]


def _standing(ones: Sequence[Measured], num_compared: int, goes_on: bool) -> Standing:
    first = ones[0]
    why = next((one.why_alone for one in ones if one.why_alone), "no other has the same data, tokens and trainings")
    return Standing(
        variant=first.variant,
        part=first.part,
        step=first.step,
        num_steps=first.num_steps,
        loss=_mean(ones),
        num_compared=num_compared,
        goes_on=goes_on,
        why_alone=why if num_compared == 1 else "",
    )


def _mean(ones: Sequence[Measured]) -> float | None:
    losses = [one.loss for one in ones if one.loss is not None]
    return statistics.fmean(losses) if len(losses) == len(ones) else None


def told(rungs: Sequence[Sequence[Standing]]) -> str:
    """Say what a cut means, and what it does not."""
    if not rungs:
        return ""
    return (
        f"Successive halving cut {len(cut_in(rungs))} of {len(rungs[0])} variants by the loss on held-out records after a part of the last stage's steps, "
        "while its learning rate was still on its way. They have no scores: one that learns slowly at first may have been cut, "
        "and a lower loss is no promise of a higher score. Only variants with the same data and the same tokens were compared."
    )


def cut_in(rungs: Sequence[Sequence[Standing]]) -> list[str]:
    """Name the variants that were cut, in the order of their cuts."""
    return [one.variant for rung in rungs for one in rung if not one.goes_on]


def lines(rungs: Sequence[Sequence[Standing]]) -> list[list[str]]:
    """Write every variant at every part as a line under HEAD, those that went on first, each by its loss."""
    return [one.cells() for rung in rungs for one in sorted(rung, key=lambda one: (not one.goes_on, one.loss or 0.0))]


def num_left(num_variants: int, halving: Halving) -> Iterator[int]:
    """Count the variants that train up to each part and to the end, where all of them compare."""
    yield num_variants
    for _ in halving.at:
        num_variants = math.ceil(halving.keep * num_variants)
        yield num_variants
