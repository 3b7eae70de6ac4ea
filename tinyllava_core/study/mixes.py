"""A search over mixes: how much of which group of records, drawn with a seed and counted out. Nothing is trained or measured here.

Every mix has equally many records, so equally many steps (DataComp, arXiv 2304.14108, compares only so). A group is a source, or a
component of one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from tinyllava_core.errors import BadInput, nearest
from tinyllava_core.frozen import Frozen

AS_IS, EVEN = "as it is", "even"  # the mix's own shares; all groups alike
DRAWN, SUBSET, START = "drawn", "subset", "start"
MAX_SHAPLEY = 6  # groups: 64 subsets, each a merge


class MixSearch(Frozen):
    """Section `mixes` of a study: which mixes are looked at, and how the promising ones are confirmed."""

    by: Literal["source", "component"] = Field("source", description="What makes a group of records.")
    records: int = Field(ge=1, description="Records of every mix that is trained.")
    expert_records: int | None = Field(
        None, ge=1, description="Records that each group's expert is trained on, at most. null: all of the group."
    )
    draws: int = Field(64, ge=2, description="Mixes drawn at random, beside the mix as it is and one of equal shares.")
    concentration: float = Field(
        1.2,
        gt=0,
        description="Of the Dirichlet distribution that shares are drawn from: below 1, few groups have most.",
    )
    trained: int = Field(
        10, ge=0, description="Drawn mixes that are trained as well, in one order, to see how far merges foretell them."
    )
    confirm: int = Field(2, ge=1, le=3, description="Best mixes that are trained in all of the study's orders.")
    shapley: tuple[str, ...] = Field(
        (),
        max_length=MAX_SHAPLEY,
        description="Groups whose Shapley values are taken over merges of all their subsets.",
    )
    seed: int = Field(0, description="Of the draws.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The records of one source or component, in a seeded order: a smaller share of it is the beginning of a larger."""

    name: str
    records: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """One mix: so many records of each group. It merges by shares."""

    name: str
    kind: str  # as it is | even | drawn | subset | start
    counts: tuple[int, ...]  # of each group; for a subset, 1 of each member

    @property
    def shares(self) -> tuple[float, ...]:
        """Give each group's share; none has any in the start."""
        whole = sum(self.counts)
        return tuple(count / whole for count in self.counts) if whole else (0.0,) * len(self.counts)


def groups_of(plan: Path, mixed: Path, search: MixSearch) -> list[Group]:
    """Sort the records of a plan into groups by the mix behind it. Raises BadInput if there are too few groups or records."""
    columns = ["record_id", "source", "component"]
    rows = pq.read_table(mixed / "mix.parquet", columns=columns)
    sources, components = rows["source"].to_pylist(), rows["component"].to_pylist()
    names = (
        sources if search.by == "source" else [part or source for part, source in zip(components, sources, strict=True)]
    )
    of = dict(zip(rows["record_id"].to_pylist(), names, strict=True))
    places = pq.read_table(plan / "plan.parquet")
    alive = places.filter(pc.invert(places["void"])) if "void" in places.column_names else places
    planned = sorted(set(alive["record_id"].to_pylist()))
    chance = np.random.default_rng(search.seed)
    mixed_up = [planned[place] for place in chance.permutation(len(planned))]
    found: dict[str, list[str]] = {name: [] for name in sorted({of[one] for one in planned})}
    for one in mixed_up:
        found[of[one]].append(one)
    if len(found) < 2:
        raise BadInput(
            f"mixes.by {search.by}: all records are of {next(iter(found))!r}; a mix needs two groups or more"
        )
    if search.records > len(planned):
        raise BadInput(f"mixes.records {search.records}: the plan has {len(planned)} records; give at most so many")
    if unknown := next((name for name in search.shapley if name not in found), None):
        raise BadInput(
            f"mixes.shapley: no group {unknown!r}{nearest(unknown, list(found))}; there are {', '.join(found)}"
        )
    return [Group(name=name, records=tuple(records)) for name, records in found.items()]


def mixes_of(search: MixSearch, groups: Sequence[Group]) -> list[Mix]:
    """Lay out every mix that is merged: as it is, even, the drawn ones, and the subsets that Shapley values need."""
    sizes = [len(group.records) for group in groups]
    chance = np.random.default_rng(search.seed + 1)
    drawn = chance.dirichlet([search.concentration] * len(groups), search.draws)
    told: list[tuple[str, str, Sequence[float]]] = [(AS_IS, AS_IS, sizes), (EVEN, EVEN, [1.0] * len(groups))]
    told += [(f"drawn {number}", DRAWN, shares) for number, shares in enumerate(drawn, 1)]
    found: dict[tuple[int, ...], Mix] = {}
    for name, kind, shares in told:  # equal groups are even as they are
        counts = counted(shares, sizes, search.records)
        found.setdefault(counts, Mix(name=name, kind=kind, counts=counts))
    return [*found.values(), *_subsets(search.shapley, [group.name for group in groups])]


def counted(shares: Sequence[float], sizes: Sequence[int], records: int) -> tuple[int, ...]:
    """Turn shares into whole records, `records` in all: what a group has not is spread over the others by their shares."""
    share, size = np.asarray(shares, float), np.asarray(sizes)
    count, is_open = np.zeros(len(size)), np.ones(len(size), bool)
    while is_open.any():
        left, mine = records - count[~is_open].sum(), np.where(is_open, share, 0)
        count = np.where(is_open, left * (mine / mine.sum() if mine.sum() else is_open / is_open.sum()), count)
        over = is_open & (count > size)
        if not over.any():
            break
        count, is_open = np.where(over, size, count), is_open & ~over
    whole = np.floor(count + 1e-9).astype(int)
    for place in np.argsort(-(count - whole), kind="stable")[: records - whole.sum()]:
        whole[place] += 1
    return tuple(whole.tolist())


def records_of(mix: Mix, groups: Sequence[Group]) -> frozenset[str]:
    """Give the records of a mix."""
    return frozenset(one for count, group in zip(mix.counts, groups, strict=True) for one in group.records[:count])


def shapley(names: Sequence[str], value: Mapping[frozenset[str], float]) -> dict[str, float]:
    """Share out the value of all groups among them: what each adds, mean over all orders of joining, by exact enumeration.

    Source: Shapley 1953; of data: Ghorbani and Zou, arXiv 1904.02868, equation 1. They add up to all minus none.
    """
    found = dict.fromkeys(names, 0.0)
    for order in itertools.permutations(names):
        there: frozenset[str] = frozenset()
        for name in order:
            found[name] += value[there | {name}] - value[there]
            there |= {name}
    orders = sum(1 for _ in itertools.permutations(names))
    return {name: total / orders for name, total in found.items()}


def members(mix: Mix, groups: Sequence[Group]) -> frozenset[str]:
    """Name the groups of which a mix has some."""
    return frozenset(group.name for group, count in zip(groups, mix.counts, strict=True) if count)


def _subsets(chosen: Sequence[str], names: Sequence[str]) -> Iterator[Mix]:
    for size in range(len(chosen) + 1 if chosen else 0):
        for some in itertools.combinations(chosen, size):
            counts = tuple(int(name in some) for name in names)
            yield Mix(name=" + ".join(some) or START, kind=SUBSET if some else START, counts=counts)
