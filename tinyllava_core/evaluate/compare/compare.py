"""Is the difference between two models' scores more than noise? Paired tests on the same questions, clusters as one draw.

Pure numbers: it reads no file and no lineage. Source: Efron and Tibshirani 1993, ch. 15 (permutation) and 16 (bootstrap);
Holm 1979 for several benchmarks at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.score.scoring import Item, Variant
from tinyllava_core.evaluate.score.statistics import SEED, Floats, Measure, cluster_sums, codes, draws

# R resamples, G clusters, C columns
LEVEL = 0.05  # a corrected p-value below it is called a difference
PERMUTATIONS = 4999  # the smallest p-value is 1 / 5000
_CELLS = 8_000_000  # of one block of permutations


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How two models compare on one benchmark; the difference is second minus first."""

    benchmark: str
    metric: str
    first: float
    second: float
    difference: float
    stderr: float
    ci_low: float  # 95 % interval of the difference
    ci_high: float
    p_value: float  # two-sided, of a permutation within clusters
    p_holm: float  # corrected for all benchmarks that are compared at once
    num_questions: int
    num_clusters: int
    lower_is_better: bool
    notes: tuple[str, ...] = ()  # what may make the two incomparable

    @property
    def is_noise(self) -> bool:
        """Tell whether the difference may be chance."""
        return self.p_holm >= LEVEL

    def verdict(self) -> str:
        """Say in plain words what the numbers allow to say."""
        if self.is_noise:
            return "within noise"
        better = (self.difference < 0) == self.lower_is_better
        return "second is better" if better else "first is better"


def compare(
    benchmark: str, variant: Variant, first: Sequence[Item], second: Sequence[Item], notes: Sequence[str] = ()
) -> Difference:
    """Compare two models' items of one benchmark by its headline metric.

    The interval is a bootstrap of whole clusters, drawn alike for both models. The p-value is of the permutation test that
    swaps the two models' answers cluster by cluster: how often chance alone makes as large a difference.
    Raises BadInput unless both are about the same questions.
    """
    first, second = _aligned(benchmark, first, second)
    cluster_I, num_clusters = codes([one.cluster for one in first])
    one, other = variant.measures(first)[0], variant.measures(second)[0]
    sums_GC = (cluster_sums(one, cluster_I, num_clusters), cluster_sums(other, cluster_I, num_clusters))
    value, other_value = (float(one.statistic(sums.sum(axis=0)[None])[0]) for sums in sums_GC)
    difference = other_value - value
    drawn_R = _resampled(one, *sums_GC)
    low, high = (float(bound) for bound in np.quantile(drawn_R, (0.025, 0.975)))
    p_value = permutation_p(one, *sums_GC, difference)
    return Difference(
        benchmark=benchmark,
        metric=one.name,
        first=value,
        second=other_value,
        difference=difference,
        stderr=float(drawn_R.std(ddof=1)),
        ci_low=low,
        ci_high=high,
        p_value=p_value,
        p_holm=p_value,
        num_questions=len(first),
        num_clusters=num_clusters,
        lower_is_better=variant.lower_is_better,
        notes=tuple(notes),
    )


def holm(differences: Sequence[Difference]) -> list[Difference]:
    """Correct the p-values for how many benchmarks are looked at: the smallest times n, the next times n - 1, never falling."""
    order = sorted(range(len(differences)), key=lambda place: differences[place].p_value)
    corrected, least = list(differences), 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * differences[place].p_value))
        corrected[place] = replace(differences[place], p_holm=least)
    return corrected


def permutation_p(measure: Measure, first_GC: Floats, second_GC: Floats, difference: float) -> float:
    """Give the share of swaps that make at least as large a difference, the one that was seen counted among them."""
    change_GC = second_GC - first_GC
    moved = np.abs(change_GC).sum(axis=1) > 0  # the others may be swapped at will
    if not moved.any():
        return 1.0
    change_MC, whole_C, other_C = change_GC[moved], first_GC.sum(axis=0), second_GC.sum(axis=0)
    reached = 0
    for swap_RM in _swaps(len(change_MC)):
        moved_RC = swap_RM @ change_MC
        found_R = measure.statistic(other_C - moved_RC) - measure.statistic(whole_C + moved_RC)
        reached += int((np.abs(found_R) >= abs(difference) - 1e-9).sum())
    return (1 + reached) / (1 + PERMUTATIONS)


def _resampled(measure: Measure, first_GC: Floats, second_GC: Floats) -> Floats:
    """Draw clusters, the same for both -> the difference of each draw [R]."""
    if len(first_GC) < 2:
        raise BadInput("compare: all questions are about one picture; nothing can be said about noise from one draw")
    return np.concatenate(
        [
            measure.statistic(times_RG @ second_GC) - measure.statistic(times_RG @ first_GC)
            for times_RG in draws(len(first_GC))
        ]
    )


def _swaps(num_clusters: int) -> Iterator[NDArray[np.float32]]:
    """Give which clusters are swapped in each permutation, in blocks [r, G]; the same each time."""
    generator = np.random.default_rng(SEED)
    block = max(1, _CELLS // num_clusters)
    for start in range(0, PERMUTATIONS, block):
        height = min(block, PERMUTATIONS - start)
        bits = np.frombuffer(generator.bytes(height * (-(-num_clusters // 8))), np.uint8).reshape(height, -1)
        yield np.unpackbits(bits, axis=1, count=num_clusters).astype(np.float32)


def _aligned(benchmark: str, first: Sequence[Item], second: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    """Put the second's items into the first's order. Raises BadInput unless both are about the same questions."""
    by_id = {one.question_id: one for one in second}
    missing = [one.question_id for one in first if one.question_id not in by_id]
    if missing or len(by_id) != len(first):
        raise BadInput(
            f"compare: {benchmark}: {len(first)} questions in the first, {len(by_id)} in the second, "
            f"{len(missing)} of the first's are not in the second; expected the same questions, of the same file"
        )
    return list(first), [by_id[one.question_id] for one in first]
