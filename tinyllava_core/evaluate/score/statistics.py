"""How far a score may be off by the choice of questions: means, standard errors, 95 % intervals, a bootstrap over clusters.

What a benchmark measures is a `Measure`: columns of numbers per item and a statistic of their sums, so that one piece of
code resamples all of them. Not the scores' rules, and no comparison of two runs (compare.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# I items, G clusters, C columns, R resamples
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Statistic = Callable[[Floats], Floats]  # sums [R, C] -> [R]

RESAMPLES = 2000
SEED = 0  # fixed: the same answers give the same error bar
UNKNOWN = 0.5  # the most that scores between 0 and 1 can spread: what one cluster alone tells about its error
Z95 = 1.959963984540054  # two-sided 95 % of the normal distribution
_ROUNDING = 1e-12  # of an error between 0 and 1
_CELLS = 4_000_000  # of one block of resamples: 32 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One number that a benchmark reports, as a statistic of sums over its items."""

    name: str
    rows_I: Ints  # places of the items that it is made of
    columns_IC: Floats  # of those items
    statistic: Statistic
    closed_form: bool = False  # True: the statistic is `ratio`, of scores in 0..1 and their weights
    max_score: float = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A measured number, and how far it may be off."""

    name: str
    value: float  # of max_score
    stderr: float
    ci_low: float  # 95 % interval
    ci_high: float
    n: int  # items
    num_clusters: int
    max_score: float


def ratio(sums_RC: Floats) -> Floats:
    """Give 100 * first column / second column, 0 where the second is 0."""
    return 100 * sums_RC[:, 0] / np.maximum(sums_RC[:, 1], 1e-12)


def share(part_R: Floats, whole_R: Floats) -> Floats:
    """Give 100 * part / whole of two counts, 0 where the whole is 0."""
    return 100 * part_R / np.maximum(whole_R, 1)


def f1(sums_RC: Floats) -> Floats:
    """Give 100 * 2 TP / (2 TP + FP + FN) of true positives, false positives, true negatives, false negatives.

    The harmonic mean of precision and recall, 0 where both are 0.
    """
    return share(2 * sums_RC[:, 0], 2 * sums_RC[:, 0] + sums_RC[:, 1] + sums_RC[:, 3])


def mean_measure(name: str, values: Sequence[float], rows: Sequence[int] | None = None) -> Measure:
    """Make the measure: 100 * mean of scores in 0..1, over all items or those at `rows` (values are of all items)."""
    all_I = np.asarray(values, dtype=np.float64)
    rows_I = np.arange(len(all_I)) if rows is None else np.asarray(rows, dtype=np.int64)
    mine_I = all_I[rows_I]
    columns_IC = np.stack([mine_I, np.ones_like(mine_I)], axis=1)
    return Measure(name=name, rows_I=rows_I, columns_IC=columns_IC, statistic=ratio, closed_form=True)


def codes(clusters: Sequence[str]) -> tuple[Ints, int]:
    """Number the clusters -> (each item's number, how many). The numbers do not depend on the order of the items."""
    number = {cluster: place for place, cluster in enumerate(sorted(set(clusters)))}
    return np.fromiter((number[cluster] for cluster in clusters), np.int64, len(clusters)), len(number)


def cluster_sums(measure: Measure, cluster_I: Ints, num_clusters: int) -> Floats:
    """Add a measure's columns up within each cluster -> [G, C]."""
    mine_I = cluster_I[measure.rows_I]
    columns = (np.bincount(mine_I, weights=column, minlength=num_clusters) for column in measure.columns_IC.T)
    return np.stack(list(columns), axis=1)


def estimate(measure: Measure, cluster_I: Ints, num_clusters: int) -> Estimate:
    """Measure, with standard error and 95 % interval; the items of a cluster count as one draw.

    Closed form (a mean of scores in 0..1): the linearised error of a ratio of cluster sums, and Wilson's interval on the
    effective number of draws p(1-p)/error^2. It stays within 0..100 and does not shrink to nothing where all answers are
    right; with one item per cluster and scores 0 or 1 it is Wilson's own but for the factor G/(G-1). Anything else: a
    bootstrap of whole clusters, standard deviation and 2.5 to 97.5 percentiles.
    Source: Wilson 1927; Korn and Graubard 1998 on effective sample sizes; Efron and Tibshirani 1993, ch. 13.
    """
    sums_GC = cluster_sums(measure, cluster_I, num_clusters)
    sums_GC = sums_GC[np.bincount(cluster_I[measure.rows_I], minlength=num_clusters) > 0]
    value = float(measure.statistic(sums_GC.sum(axis=0)[None])[0])
    known = len(sums_GC)
    if measure.closed_form:
        stderr = 100 * _ratio_error(sums_GC)
        low, high = wilson(value / 100, stderr / 100, known)
        low, high = 100 * low, 100 * high
    elif known < 2:
        stderr, low, high = UNKNOWN * measure.max_score, 0.0, measure.max_score
    else:
        drawn_R = bootstrap(sums_GC, measure.statistic)
        stderr = float(drawn_R.std(ddof=1))
        low, high = (float(bound) for bound in np.quantile(drawn_R, (0.025, 0.975)))
    return Estimate(
        name=measure.name,
        value=value,
        stderr=stderr,
        ci_low=low,
        ci_high=high,
        n=len(measure.rows_I),
        num_clusters=known,
        max_score=measure.max_score,
    )


def wilson(share: float, stderr: float, num_clusters: int) -> tuple[float, float]:
    """Give Wilson's 95 % interval of a share, on as many independent draws as its standard error is worth.

    Without any spread (all right, or all wrong) the draws are the clusters.
    """
    spread = share * (1 - share)
    draws = spread / stderr**2 if stderr > 0 and spread > 0 else float(num_clusters)
    if draws <= 0:
        return 0.0, 1.0
    middle = share + Z95**2 / (2 * draws)
    half = Z95 * math.sqrt(max(spread, 0.0) / draws + Z95**2 / (4 * draws**2))
    whole = 1 + Z95**2 / draws
    return max(0.0, (middle - half) / whole), min(1.0, (middle + half) / whole)


def mean(values: Sequence[float]) -> float:
    """Give the mean; summed exactly, so that it does not depend on the order."""
    return math.fsum(values) / len(values)


def _ratio_error(sums_GC: Floats) -> float:
    """Give the standard error of a ratio of cluster sums, in 0..1.

    sqrt(G/(G-1) * sum over clusters of (sum of deviations)^2) / I; with one item per cluster this is the sample
    standard deviation / sqrt(I). One cluster alone: `UNKNOWN`. What rounding leaves of no spread is none: `wilson` would take it for
    certainty.
    """
    if len(sums_GC) < 2:
        return UNKNOWN
    whole, num_clusters = sums_GC.sum(axis=0), len(sums_GC)
    deviation_G = sums_GC[:, 0] - whole[0] / whole[1] * sums_GC[:, 1]
    error = math.sqrt(num_clusters / (num_clusters - 1) * float(deviation_G @ deviation_G)) / float(whole[1])
    return error if error > _ROUNDING else 0.0


def bootstrap(sums_GC: Floats, statistic: Statistic) -> Floats:
    """Draw whole clusters with replacement, RESAMPLES times -> the statistic of each [R]."""
    return np.concatenate([statistic(times_RG @ sums_GC) for times_RG in draws(len(sums_GC))])


def draws(num_clusters: int) -> Iterator[Floats]:
    """Give how often each cluster is drawn in each resample, in blocks [r, G]; the same each time."""
    generator = np.random.default_rng(SEED)
    block = max(1, _CELLS // num_clusters)
    for start in range(0, RESAMPLES, block):
        height = min(block, RESAMPLES - start)
        chosen_RG = generator.integers(0, num_clusters, (height, num_clusters))
        chosen_RG += np.arange(height)[:, None] * num_clusters
        times = np.bincount(chosen_RG.ravel(), minlength=height * num_clusters)
        yield times.reshape(height, num_clusters).astype(np.float64)
