"""What a search over mixes found: how far merges foretold trainings, and which gain stood in several orders. Nothing is trained here."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyllava_core.evaluate.compare.student import student_quantile
from tinyllava_core.study.mixes import DRAWN, EVEN, START, SUBSET, Group, Mix, members, shapley
from tinyllava_core.study.regressed import ridge_rank
from tinyllava_core.why.outcome import Value
from tinyllava_core.why.truth import row_spearman

SHOWN, WORSE, NOT_SHOWN = "shown", "shown to be worse", "not shown"
HEAD = ("mix", "merged", "trained", "orders", "gain", "95 % interval", "verdict", "right", "gain", "verdict")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """A mix's trainings against those of the mix as it is: a training is the unit."""

    mean: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """Say what it shows."""
        return SHOWN if self.low > 0 else WORSE if self.high < 0 else NOT_SHOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """One mix: what its merge foretold, and what its trainings, an order each, came to."""

    mix: Mix
    merged: Value
    trained: tuple[Value, ...] = ()
    gain: Gain | None = None  # in log-probability; None: it was not confirmed
    right_gain: Gain | None = None  # in the part of right answers


def best_of(mixes: Sequence[Mix], merged: Sequence[Value], count: int) -> list[int]:
    """Choose the mixes whose merges say the right answers likeliest, but for the one as it is -> their places."""
    places = [place for place, mix in enumerate(mixes) if mix.kind in (DRAWN, EVEN)]
    return sorted(places, key=lambda place: -merged[place].log_probability)[:count]


def searched(
    mixes: Sequence[Mix], merged: Sequence[Value], trained: Mapping[int, Sequence[Value]], confirmed: Sequence[int]
) -> list[Searched]:
    """Put together what was foretold and what came; `trained`: by place of the mix; `confirmed`: places held against the first."""
    base, found = trained[0], []
    for place, (mix, value) in enumerate(zip(mixes, merged, strict=True)):
        mine = tuple(trained.get(place, ()))
        gains = (
            [
                gain([getattr(one, name) for one in base], [getattr(one, name) for one in mine], len(confirmed))
                for name in ("log_probability", "right")
            ]
            if place in confirmed
            else [None, None]
        )
        found.append(Searched(mix=mix, merged=value, trained=mine, gain=gains[0], right_gain=gains[1]))
    return found


def gain(base: Sequence[float], mine: Sequence[float], comparisons: int) -> Gain:
    """Compare two mixes' trainings: Student's interval by Welch and Satterthwaite, 5 % shared among the comparisons (Bonferroni)."""
    parts = [statistics.variance(side) / len(side) for side in (base, mine)]
    mean, error = statistics.fmean(mine) - statistics.fmean(base), sum(parts) ** 0.5
    if not error:
        return Gain(mean=mean, low=mean, high=mean)
    spread = sum(part**2 / (len(side) - 1) for part, side in zip(parts, (base, mine), strict=True))
    half = student_quantile(1 - 0.025 / comparisons, sum(parts) ** 2 / spread) * error
    return Gain(mean=mean, low=mean - half, high=mean + half)


@dataclass(frozen=True, slots=True, kw_only=True)
class Foretold:
    """Merges held against trainings of drawn mixes, one order each."""

    count: int
    rank: float  # Spearman
    by_ridge: float  # the same of a regression on the shares of the other mixes: it needs the trainings, and no merge
    reached: float  # what could be reached beside the order's noise, about


def foretold(found: Sequence[Searched], drawn: int) -> Foretold | None:
    """Hold merges against the first drawn mixes, whatever was foretold of them; None of fewer than three.

    Reached: the root of the part of those trainings' variance that is not between orders of one mix, as in those of several orders.
    """
    some = [one for one in found if one.mix.kind == DRAWN][:drawn]
    if len(some) < 3:
        return None
    values = [one.trained[0].log_probability for one in some]
    merged = [one.merged.log_probability for one in some]
    several = [[value.log_probability for value in one.trained] for one in found if len(one.trained) > 1]
    noise, whole = statistics.fmean(map(statistics.variance, several)), statistics.variance(values)
    rank = float(row_spearman(np.array([merged]), np.array([values]))[0])
    return Foretold(
        count=len(some),
        rank=rank,
        by_ridge=ridge_rank([one.mix.shares for one in some], values),
        reached=max(0.0, 1 - noise / whole) ** 0.5 if whole else 0.0,
    )


def shapley_of(found: Sequence[Searched], groups: Sequence[Group], chosen: Sequence[str]) -> dict[str, float]:
    """Give each group's Shapley value in log-probability, by the merges of all subsets; empty where none was asked for."""
    value = {members(one.mix, groups): one.merged.log_probability for one in found if one.mix.kind in (SUBSET, START)}
    return shapley(chosen, value) if chosen else {}


def page(
    found: Sequence[Searched], groups: Sequence[Group], values: Mapping[str, float], told: Foretold | None, orders: int
) -> str:
    """Write what was found for a person: the trained mixes, how far to trust the merges, what was shown."""
    table = [HEAD, ["---"] * len(HEAD), *cells(found)]
    lines = [f"| {' | '.join(line)} |" for line in table]
    return "\n".join([*lines, "", *sentences(found, groups, values, told, orders)]) + "\n"


def sentences(
    found: Sequence[Searched], groups: Sequence[Group], values: Mapping[str, float], told: Foretold | None, orders: int
) -> list[str]:
    """Say how far to trust the merges, and what was shown."""
    lines = [
        f"Merged experts against {told.count} drawn mixes, trained in one order each: Spearman {told.rank:.2f}; about {told.reached:.2f} can be "
        f"reached beside the order's noise. A ridge regression on the shares of the other {told.count - 1}: {told.by_ridge:.2f}."
        if told
        else "Merged experts: unchecked; mixes.trained: 10 trains drawn mixes to hold them against."
    ]
    for one in found:
        if one.gain is not None:
            sides = [f"{group.name} {count}" for group, count in zip(groups, one.mix.counts, strict=True)]
            what = WORSE if one.gain.verdict == WORSE else f"{one.gain.verdict} to be better"
            lines.append(f"{one.mix.name} ({', '.join(sides)}): {what} than the mix as it is, over {orders} orders.")
    if values:
        told_values = ", ".join(
            f"{name} {value:+.3f}" for name, value in sorted(values.items(), key=lambda pair: -pair[1])
        )
        lines.append(f"Shapley values of the merges, in log-probability, which no training has checked: {told_values}.")
    return lines


def cells(found: Sequence[Searched]) -> list[tuple[str, ...]]:
    """Lay out the mixes that were trained in several orders, the one as it is first, then those in one order."""
    rows = [one for one in found if one.trained]
    return [_cells(one) for one in sorted(rows, key=lambda one: -len(one.trained))]


def _cells(one: Searched) -> tuple[str, ...]:
    log = _mean_sd([value.log_probability for value in one.trained], 3, 1)
    right = _mean_sd([value.right for value in one.trained], 1, 100)
    gains = (
        (f"{one.gain.mean:+.3f}", f"{one.gain.low:+.3f} .. {one.gain.high:+.3f}", one.gain.verdict)
        if one.gain
        else ("", "", "")
    )
    of_right = (f"{100 * one.right_gain.mean:+.1f}", one.right_gain.verdict) if one.right_gain else ("", "")
    return (
        one.mix.name,
        f"{one.merged.log_probability:.3f}",
        log,
        str(len(one.trained)),
        *gains,
        f"{right} %",
        *of_right,
    )


def _mean_sd(values: Sequence[float], digits: int, times: float) -> str:
    mean = f"{times * statistics.fmean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} (sd {times * statistics.stdev(values):.{digits}f})"


def rows_of(found: Sequence[Searched], groups: Sequence[Group], shares: Mapping[str, float]) -> list[dict[str, Any]]:
    """Write a row of view `searched_mixes` for each mix; `shares`: Shapley values, a row each."""
    names = [group.name for group in groups]
    rows = []
    for one in found:
        trained = {name: [getattr(value, name) for value in one.trained] for name in ("log_probability", "right")}
        row: dict[str, Any] = {
            "name": one.mix.name,
            "kind": one.mix.kind,
            "groups": names,
            "counts": list(one.mix.counts),
        }
        row |= {"merged": one.merged.log_probability, "merged_right": one.merged.right, "num_orders": len(one.trained)}
        for name, values in trained.items():
            row[f"trained_{name}"] = statistics.fmean(values) if values else None
            row[f"sd_{name}"] = statistics.stdev(values) if len(values) > 1 else None
        row |= {f"gain{key}": value for key, value in _told(one.gain).items()} | {
            f"right_gain{key}": value for key, value in _told(one.right_gain).items()
        }
        rows.append(row)
    rows += [{"name": name, "kind": "shapley", "merged": value} for name, value in shares.items()]
    return rows


def _told(one: Gain | None) -> dict[str, float | str]:
    if one is None:
        return {}
    return {f"_{key}": value for key, value in dataclasses.asdict(one).items()} | {"_verdict": one.verdict}
