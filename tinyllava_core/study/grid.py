"""A study: one recipe, varied; the same data and seeds for every variant. Its YAML lies beside this file, or anywhere.

`load("connectors")` gives it checked. It runs nothing: flows/study.py does.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from tinyllava_core.errors import BadInput, unknown
from tinyllava_core.frozen import Frozen, OneLine
from tinyllava_core.recipe import Recipe
from tinyllava_core.recipe import load as load_recipe
from tinyllava_core.study.halving import Halving
from tinyllava_core.study.mixes import MixSearch

STUDIES = Path(__file__).parent
MOST_VARIANTS = 10_000  # of a grid: each is a whole run, and their recipes are all checked before the first


class Variant(Frozen):
    """One of the things that are compared."""

    name: OneLine = Field(description="What it is called in table and figure.")
    recipe: str | None = Field(None, description="A recipe of its own, by name or path. null: the study's.")
    set: dict[str, Any] = Field({}, description="Dotted keys that are set on the recipe, over the study's own.")


class Study(Frozen):
    """A grid of variants of one recipe."""

    name: OneLine
    description: str = ""
    recipe: str = Field(description="The recipe that is varied: a name, or a path.")
    set: dict[str, Any] = Field({}, description="Dotted keys that are set for every variant.")
    variants: tuple[Variant, ...] = Field((), description="Variants, one by one. Or `grid`.")
    grid: dict[str, list[Any]] = Field(
        {}, description="Dotted keys, each with its values: every combination. Or `variants`."
    )
    leave_out: tuple[str, ...] = Field(
        (),
        description="Sources of sft: every variant once more without each, its records void at their places in the plan.",
    )
    seeds: tuple[int, ...] = Field((42,), min_length=1, description="Every variant is run once with each.")
    orders: tuple[int, ...] = Field(
        (0,), min_length=1, description="Orders of the sft records (`sft.order`): every variant is run once with each."
    )
    halving: Halving = Field(Halving(), description="What `--halving` does: after which parts, how many go on.")
    mixes: MixSearch | None = Field(
        None, description="Mixes to search for the sft of this recipe: `tinyllava mix-search`, not `tinyllava study`."
    )

    @model_validator(mode="after")
    def _one_way(self) -> Study:
        if self.variants and self.grid:
            raise ValueError("give either variants or a grid")
        if self.mixes and (self.variants or self.grid or self.leave_out):
            raise ValueError("mixes are searched for one recipe; take variants, grid and leave_out out")
        if self.mixes and len(self.orders) < 3:
            raise ValueError("mixes: one order of the records decides as much as a mix; give orders: [0, 1, 2] or more")
        if not (self.variants or self.grid or self.leave_out or len(self.orders) > 1):
            raise ValueError("nothing varies: give either variants or a grid, sources to leave_out, or several orders")
        if empty := next((key for key, values in self.grid.items() if not values), None):
            raise ValueError(f"grid.{empty}: has no value, so there would be no run; give it one, or take it out")
        number = math.prod(map(len, self.grid.values())) * (1 + len(self.leave_out))
        if number > MOST_VARIANTS:
            raise ValueError(f"its grid has {number:,} variants; {MOST_VARIANTS:,} at most: vary less at once")
        names = Counter(variant.name for variant in self.all_variants())
        twice = next((name for name, times in names.items() if times > 1), None)
        if twice is not None:
            raise ValueError(f"two variants are called {twice!r}; rename one")
        return self

    @property
    def searching(self) -> MixSearch:
        """Give its search over mixes. Raises BadInput if it has none."""
        if self.mixes is None:
            raise BadInput(
                f"study {self.name!r} has no section mixes, so there is none to search; give it one, as in mixes: {{records: 600}}"
            )
        return self.mixes

    def all_variants(self) -> tuple[Variant, ...]:
        """Give the variants, each followed by itself without each source that is left out."""
        whole = self._whole_variants()
        return tuple(
            one for variant in whole for one in (variant, *(_without(variant, name) for name in self.leave_out))
        )

    def _whole_variants(self) -> tuple[Variant, ...]:
        """Give the variants on all sources, those of the grid in its order: the last key runs fastest."""
        if not self.grid:
            return self.variants or (Variant(name="all"),)
        found = []
        for values in itertools.product(*self.grid.values()):
            chosen = dict(zip(self.grid, values, strict=True))
            name = ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in chosen.items())
            found.append(Variant(name=name, set=chosen))
        return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One run of a study."""

    variant: str
    seed: int
    order: int = 0
    recipe: str
    overrides: dict[str, Any]

    @property
    def way(self) -> str:
        """Name its seed, and its order where that is not the mix's own."""
        return way(self.seed, self.order)


def way(seed: int, order: int) -> str:
    """Name how a variant was run."""
    return f"seed {seed}, order {order}" if order else f"seed {seed}"


def load(name: str) -> Study:
    """Load a study by its name or by a path to a YAML file. Raises BadInput."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else STUDIES / f"{name}.yaml"
    if not path.is_file() and path.parent == STUDIES:
        raise unknown("study", name, known_studies())
    return Study.read(path)


def _held_out(recipe: Recipe, halving: Halving) -> dict[str, Any]:
    """Give what has to be set that a recipe's last stage holds records out. Raises BadInput if it has no stage."""
    if not recipe.stages():
        raise BadInput("it trains nothing, so there is nothing to halve; leave --halving out")
    last = recipe.stages()[-1]
    return {} if recipe.training(last).held_out else {f"{last}.held_out": halving.held_out}


def _without(variant: Variant, source: str) -> Variant:
    """Give a variant in which a source weighs nothing. The mix, the plan and every rate stay."""
    records = f"SELECT record_id FROM records WHERE source = '{source.replace(chr(39), chr(39) * 2)}'"
    return variant.model_copy(
        update={"name": f"{variant.name}, without {source}", "set": {**variant.set, "sft.void": records}}
    )


def known_studies() -> list[str]:
    """List the names of the studies that come with the package."""
    return sorted(path.stem for path in STUDIES.glob("*.yaml"))


def runs(study: Study, overrides: dict[str, Any], halving: bool = False) -> list[Planned]:
    """List the runs of a study, variant by variant; `overrides` come last and hold for all.

    `halving`: each holds records out of its last stage. Raises BadInput if any of the recipes does not come out right: before the
    first is run.
    """
    found = []
    for variant, seed, order in itertools.product(study.all_variants(), study.seeds, study.orders):
        name = re.sub(r"[\W_]+", "-", f"{study.name} {variant.name}".lower()).strip("-")
        orders = {"sft.order": order} if study.orders != (0,) else {}
        keys = {**study.set, **variant.set, "seed": seed, **orders, "name": name, **overrides}
        recipe = variant.recipe or study.recipe
        try:
            made = load_recipe(recipe, keys)
            if halving:
                keys |= _held_out(made, study.halving)
        except BadInput as error:
            raise BadInput(f"study {study.name!r}, variant {variant.name!r}: {error}") from None
        found.append(Planned(variant=variant.name, seed=seed, order=order, recipe=recipe, overrides=keys))
    return found
