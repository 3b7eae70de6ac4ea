"""How far attributions agree with retraining, beside what could be reached at all and what a look at the answer's words reaches.

Numbers alone: it trains nothing and reads no store. The measure is TRAK's linear datamodelling score (arXiv 2303.14186, section 4.1):
over random halves of the records, the rank correlation of the summed scores of the records kept with the log-probability of an answer
after training on them; here against the mean over several orders of the records, because another order changes an answer more than
another half does.
"""

from __future__ import annotations

import numpy as np


def agreement(score_QN: np.ndarray, kept_MN: np.ndarray, outcome_MOQ: np.ndarray) -> np.ndarray:
    """Hold the scores of N records for Q answers against M subsets, each trained in O orders -> [Q]; higher outcomes are better."""
    return row_spearman(score_QN @ kept_MN.T.astype(np.float32), outcome_MOQ.mean(1).T)


def attainable(outcome_MOQ: np.ndarray) -> float:
    """Give the correlation of the mean over the orders with what does not depend on the order.

    With r, the mean correlation of two orders over the subsets, it is the root of O r / (1 + (O - 1) r) (Spearman and Brown's formula). NaN
    for one order: unknown.
    """
    orders = outcome_MOQ.shape[1]
    pairs = [
        np.nanmean(row_spearman(outcome_MOQ[:, a].T, outcome_MOQ[:, b].T))
        for a in range(orders)
        for b in range(a + 1, orders)
    ]
    if not pairs:
        return float("nan")
    between = max(0.0, float(np.mean(pairs)))
    return float(np.sqrt(orders * between / (1 + (orders - 1) * between)))


def row_spearman(left_QM: np.ndarray, right_QM: np.ndarray) -> np.ndarray:
    """Correlate the ranks of two tables row by row -> [Q]; NaN where a row is constant. Ties share the mean of their ranks."""
    left, right = (_centred(ranks(table)) for table in (left_QM, right_QM))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((left * right).sum(1) / np.sqrt((left**2).sum(1) * (right**2).sum(1)))


def ranks(table_QM: np.ndarray) -> np.ndarray:
    """Rank each row from 0, ties at their mean -> [Q, M] float."""
    below = (table_QM[:, None, :] < table_QM[:, :, None]).sum(2)
    equal = (table_QM[:, None, :] == table_QM[:, :, None]).sum(2)
    return below + (equal - 1) / 2


def halves(num_records: int, count: int, seed: int) -> np.ndarray:
    """Draw random halves -> [count, records] bool: kept."""
    chance = np.random.default_rng(seed)
    kept = np.zeros((count, num_records), bool)
    for row in kept:
        row[chance.choice(num_records, num_records // 2, replace=False)] = True
    return kept


def _centred(table: np.ndarray) -> np.ndarray:
    return np.asarray(table - table.mean(1, keepdims=True))
