"""A study's variants against its first, question by question, and beside what others published. Nothing is run or drawn here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.compare.compare import Difference, holm
from tinyllava_core.evaluate.compare.published import Beside, Published, beside, same_model
from tinyllava_core.evaluate.compare.score_pair import compare_all, compare_recipes
from tinyllava_core.recipe import load as load_recipe
from tinyllava_core.report.html import signed
from tinyllava_core.study.table import Finished

# What may be set on a recipe, and it is still the one that was published: the parts are looked up, the rest trains nothing.
NOT_THE_RECIPE = ("model.vision", "model.language", "seed", "name", "evaluate", "launch", "export", "data", "watch")
CHECKPOINTS = (
    "One training a side: a difference says that these two checkpoints differ. Another order of the same records may move a "
    "score as much; only several seeds tell a variant from chance."
)
HEAD = ("variant", "benchmark", "first", "variant's", "difference", "95 % interval", "p (Holm)", "verdict")
PUBLISHED_HEAD = ("variant", "benchmark", "ours", "published", "difference", "of", "where, and how measured")


def against_first(runs: Sequence[Finished]) -> list[tuple[str, Difference]]:
    """Compare each variant with the study's first on every benchmark that both have -> (variant, difference), Holm over all.

    One seed a side: a paired test over questions. Several: questions and seeds are both draws (compare/seeds.py). A variant
    with another number of seeds than one on one side and several on the other is left out.
    """
    by_variant = {run.variant: [other for other in runs if other.variant == run.variant] for run in runs}
    first, *others = by_variant.values() if by_variant else [[]]
    found: list[tuple[str, Difference]] = []
    for other in others:
        if len(first) == len(other) == 1:
            found += [(other[0].variant, one) for one in _of_one(first[0], other[0])]
        elif min(len(first), len(other)) > 1:
            found += [(other[0].variant, one) for one in _of_several(first, other)]
    corrected = holm([difference for _, difference in found])
    return [(variant, one) for (variant, _), one in zip(found, corrected, strict=True)]


def _of_one(first: Finished, other: Finished) -> list[Difference]:
    common = {kept.name for kept in first.kept} & {kept.name for kept in other.kept}
    return compare_all(first.kept, other.kept) if common else []


def _of_several(first: Sequence[Finished], other: Sequence[Finished]) -> list[Difference]:
    found = []
    for name in dict.fromkeys(kept.name for kept in first[0].kept):
        sides = [[kept for run in side for kept in run.kept if kept.name == name] for side in (first, other)]
        if min(map(len, sides)) > 1:
            found += compare_recipes(*sides)
    return found


def pair_rows(pairs: Sequence[tuple[str, Difference]]) -> list[tuple[str, ...]]:
    """Lay the differences out as cells."""
    return [
        (
            variant,
            one.benchmark,
            f"{one.first:.1f}",
            f"{one.second:.1f}",
            signed(one.difference),
            f"{signed(one.ci_low)} … {signed(one.ci_high)}",
            f"{one.p_holm:.4f}",
            one.verdict().replace("second", "the variant").replace("first", "the first"),
        )
        for variant, one in pairs
    ]


def published_rows(recipe: str, overrides: Mapping[str, Any]) -> list[Published]:
    """Find who published the model of a run: same parts, same recipe, and nothing set on it that trains it otherwise."""
    changed = [key for key in overrides if not any(key == own or key.startswith(f"{own}.") for own in NOT_THE_RECIPE)]
    if changed:
        return []
    try:
        model = load_recipe(recipe, dict(overrides)).model
    except BadInput:
        return []
    return same_model(model.vision, model.language, recipe)


def beside_published(runs: Sequence[Finished]) -> list[tuple[str, Beside]]:
    """Lay each run's scores beside those that were published of the same model -> (variant, pair of numbers)."""
    return [
        (run.variant, one)
        for run in runs
        for score in run.scores
        if score.seen is not None
        for one in beside(score.benchmark, score.seen.score, score.seen.stderr, run.published)
    ]


def published_cells(found: Sequence[tuple[str, Beside]]) -> list[tuple[str, ...]]:
    """Lay them out as cells."""
    return [
        (
            variant,
            one.benchmark,
            f"{one.ours:.1f} ± {one.stderr:.1f}",
            f"{one.published:g}",
            signed(one.difference) + (", within the error" if one.is_within_error else ""),
            one.model,
            f"{one.where}: {one.caveat}",
        )
        for variant, one in found
    ]
