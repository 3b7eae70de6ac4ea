"""The other way to foretell a mix: a ridge regression of trained mixes' outcomes on their shares, held against mixes it has not seen.

Source: RegMix (arXiv 2407.01492) and olmix (arXiv 2602.12237) choose so, from many more trainings of mixes than there are groups.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinyllava_core.why.truth import row_spearman

_PENALTY = 1.0  # times the squared weights, of shares in their own standard deviations


def foretold_by_ridge(shares: Sequence[Sequence[float]], outcomes: Sequence[float]) -> np.ndarray:
    """Foretell each mix's outcome from all the others' -> [mixes]. `shares`: of each group, a row for each mix."""
    table_MG, value_M = np.asarray(shares, float), np.asarray(outcomes, float)
    found = np.empty(len(value_M))
    for left_out in range(len(value_M)):
        kept = np.arange(len(value_M)) != left_out
        mean_G, spread_G = table_MG[kept].mean(0), table_MG[kept].std(0)
        spread_G = np.where(spread_G > 0, spread_G, 1)
        seen_MG, middle = (table_MG[kept] - mean_G) / spread_G, value_M[kept].mean()
        weight_G = np.linalg.solve(
            seen_MG.T @ seen_MG + _PENALTY * np.eye(len(mean_G)), seen_MG.T @ (value_M[kept] - middle)
        )
        found[left_out] = (table_MG[left_out] - mean_G) / spread_G @ weight_G + middle
    return found


def ridge_rank(shares: Sequence[Sequence[float]], outcomes: Sequence[float]) -> float:
    """Give Spearman's correlation of what a regression on the other mixes foretells with what each mix came to."""
    return float(row_spearman(foretold_by_ridge(shares, outcomes)[None], np.asarray(outcomes, float)[None])[0])
