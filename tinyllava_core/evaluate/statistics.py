"""How far a score may be off by the choice of questions: means, standard errors, a bootstrap over images.

Not the scores themselves, and no comparison of two runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

# I items, G clusters, C columns, R resamples
Floats = NDArray[np.float64]

RESAMPLES = 1000
SEED = 0  # fixed: the same answers give the same error bar
UNKNOWN = 0.5  # the most that scores between 0 and 1 can spread: what one cluster alone tells about its error
_CELLS = 4_000_000  # of one block of resamples: 32 MB


def mean(values: Sequence[float]) -> float:
    """Give the mean; summed exactly, so that it does not depend on the order."""
    return math.fsum(values) / len(values)


def standard_error(values: Sequence[float], clusters: Sequence[str]) -> float:
    """Give the standard error of the mean of scores in 0..1, items of one cluster counted as one draw.

    sqrt(G/(G-1) * sum over clusters of (sum of deviations)^2) / I; with one item per cluster this is the sample
    standard deviation / sqrt(I). One cluster alone: `UNKNOWN`.
    """
    _, cluster_I = np.unique(np.asarray(clusters), return_inverse=True)
    num_clusters = int(cluster_I.max()) + 1
    if num_clusters < 2:
        return UNKNOWN
    deviation_I = np.asarray(values, dtype=np.float64) - mean(values)
    deviation_G = np.bincount(cluster_I, weights=deviation_I)
    return math.sqrt(num_clusters / (num_clusters - 1) * float(deviation_G @ deviation_G)) / len(values)


def bootstrap_error(columns_IC: ArrayLike, clusters: Sequence[str], statistic: Callable[[Floats], Floats]) -> float:
    """Give the standard error of a statistic of column sums, whole clusters drawn with replacement.

    `statistic` takes sums [R, C] and gives [R]: a mean is `sums[:, 0] / sums[:, 1]` with a second column of ones, F1 is
    made of the sums of true positives, false positives and false negatives. One cluster alone: `UNKNOWN`.
    """
    items_IC = np.asarray(columns_IC, dtype=np.float64)
    _, cluster_I = np.unique(np.asarray(clusters), return_inverse=True)
    num_clusters = int(cluster_I.max()) + 1
    if num_clusters < 2:
        return UNKNOWN
    sums_GC = np.zeros((num_clusters, items_IC.shape[1]))
    np.add.at(sums_GC, cluster_I, items_IC)
    draw = np.random.default_rng(SEED)
    block = max(1, _CELLS // (num_clusters * items_IC.shape[1]))
    drawn: list[Floats] = []
    for start in range(0, RESAMPLES, block):
        chosen_RG = draw.integers(0, num_clusters, (min(block, RESAMPLES - start), num_clusters))
        drawn.append(statistic(sums_GC[chosen_RG].sum(axis=1)))
    return float(np.concatenate(drawn).std(ddof=1))
