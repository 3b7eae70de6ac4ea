"""Two recipes, each trained with several seeds, on the same questions: is the difference more than noise of either kind?

The choice of questions and the choice of seeds are both draws. The error is the root of the sum of both variances: that of
the questions, pictures as one draw, on the answers' mean over seeds; and that of the seeds' scores on each side. Its interval
is Student's, with Welch and Satterthwaite's degrees of freedom, since two or three seeds say little about their own spread.
Simulated with known truth, it holds it in 93 to 99 of 100 worlds (tests/evaluate/compare/test_seeds.py): the questions' part
has some of the seeds' in it, so it errs to the wide side. A bootstrap over so few seeds would be far too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.compare.compare import Difference
from tinyllava_core.evaluate.compare.student import student_p, student_quantile
from tinyllava_core.evaluate.score.scoring import Item, Variant
from tinyllava_core.evaluate.score.statistics import Floats, Measure, cluster_sums, codes, draws

# S seeds, G clusters, C columns
MANY = 1e6  # degrees of freedom of the questions' part: as good as known


def compare_seeds(
    benchmark: str,
    variant: Variant,
    first: Sequence[Sequence[Item]],
    second: Sequence[Sequence[Item]],
    notes: Sequence[str] = (),
) -> Difference:
    """Compare two recipes' items, a list for each seed. Raises BadInput unless all are about the same questions, two seeds a side."""
    if min(len(first), len(second)) < 2:
        raise BadInput("compare: one seed on a side says nothing about seeds; give two score files or more on each")
    order = [one.question_id for one in first[0]]
    sides = [[_aligned(benchmark, order, items) for items in side] for side in (first, second)]
    cluster_I, num_clusters = codes([one.cluster for one in first[0]])
    measures = [[variant.measures(items)[0] for items in side] for side in sides]
    sums = [[cluster_sums(one, cluster_I, num_clusters) for one in side] for side in measures]
    measure = measures[0][0]
    scores = [np.array([_value(measure, one) for one in side]) for side in sums]
    difference = float(scores[1].mean() - scores[0].mean())
    of_questions = _questions_variance(measure, sums)
    of_seeds = [float(side.var(ddof=1)) / len(side) for side in scores]
    stderr = math.sqrt(of_questions + sum(of_seeds))
    freedom = _freedom([(of_questions, MANY), *((part, len(s) - 1) for part, s in zip(of_seeds, scores, strict=True))])
    half = student_quantile(0.975, freedom) * stderr
    p_value = student_p(difference / stderr, freedom) if stderr > 0 else float(difference == 0)
    return Difference(
        benchmark=benchmark,
        metric=measure.name,
        first=float(scores[0].mean()),
        second=float(scores[1].mean()),
        difference=difference,
        stderr=stderr,
        ci_low=difference - half,
        ci_high=difference + half,
        p_value=p_value,
        p_holm=p_value,
        num_questions=len(order),
        num_clusters=num_clusters,
        lower_is_better=variant.lower_is_better,
        notes=(f"{len(first)} and {len(second)} seeds", *notes),
    )


def _value(measure: Measure, sums_GC: Floats) -> float:
    return float(measure.statistic(sums_GC.sum(axis=0)[None])[0])


def _questions_variance(measure: Measure, sums: Sequence[Sequence[Floats]]) -> float:
    """Draw pictures, the same for every seed of both sides -> the variance of the difference of the sides' mean scores."""
    if len(sums[0][0]) < 2:
        raise BadInput("compare: all questions are about one picture; nothing can be said about noise from one draw")
    found = []
    for times_RG in draws(len(sums[0][0])):
        means = [np.mean([measure.statistic(times_RG @ one) for one in side], axis=0) for side in sums]
        found.append(means[1] - means[0])
    return float(np.concatenate(found).var(ddof=1))


def _freedom(parts: Sequence[tuple[float, float]]) -> float:
    whole = sum(part for part, _ in parts)
    spread = sum(part**2 / freedom for part, freedom in parts)
    return whole**2 / spread if spread > 0 else MANY


def _aligned(benchmark: str, order: Sequence[int | str], items: Sequence[Item]) -> list[Item]:
    by_id = {one.question_id: one for one in items}
    if len(by_id) != len(order) or any(name not in by_id for name in order):
        raise BadInput(
            f"compare: {benchmark}: the seeds' score files are not about the same questions; score them alike"
        )
    return [by_id[name] for name in order]
