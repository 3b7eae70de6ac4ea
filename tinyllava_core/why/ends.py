"""The records at either end of an answer's ranking: all that a store keeps of its scores. Nothing is scored from here on.

All records' scores may be a little off, as int8 products leave them; those near an end are taken again in float64, so the ranks and the
numbers that are kept are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tinyllava_core.why.scores import Asked, Scores, exact

TAIL = 100  # records kept at either end of each answer's ranking
_MORE = 28  # taken again beside them: at 1.2 M records these stand 0.05 standard deviations further in, products are off by 1e-4


def tails(scores: Scores, questions: pa.Table, kernel: np.ndarray, records: list[Path], count: int = TAIL) -> pa.Table:
    """Keep the records that pull most for and most against each answer: rank 1, 2, .. and -1, -2, ..

    `questions`, `kernel`, `records`: what the scores were made of.
    """
    of_record = Records.of(scores.record_ids)
    spreads, near = [], []
    for number in range(len(questions)):
        spreads.append(spread := scores.standard(number))
        near.append(
            of_record.near_ends(spread.score(scores.cosine_QN[number], scores.kernel_QN[number]), count + _MORE)
        )
    answer_P = np.repeat(np.arange(len(near)), [len(rows) for rows in near])
    place_P = np.concatenate([np.zeros(0, np.int64), *near])
    cosine_P, kernel_P = exact(records, Asked.of(questions, kernel), answer_P, place_P)
    parts, first = [], 0
    for number, rows in enumerate(near):
        mine = slice(first, first := first + len(rows))
        score = spreads[number].score(cosine_P[mine], kernel_P[mine])
        rank, at = of_record.ends(rows, score, count)
        parts.append((number, rank, rows[at], score[at], cosine_P[mine][at], kernel_P[mine][at]))
    return _table(scores, questions, parts)


def _table(scores: Scores, questions: pa.Table, parts: list[tuple]) -> pa.Table:
    number = np.concatenate([np.zeros(0, np.int64), *(np.full(len(rank), number) for number, rank, *_ in parts)])
    rank, place, score, cosine, kernel = (
        np.concatenate([np.zeros(0, kind), *(part[column] for part in parts)])
        for column, kind in enumerate((np.int64, np.int64, float, float, float), 1)
    )
    return pa.table(
        {
            "benchmark": questions["benchmark"].take(number),
            "question_id": questions["question_id"].take(number),
            "record_id": scores.record_ids.take(place),
            "source": scores.sources.take(place),
            "rank": pa.array(rank, pa.int16()),
            "score": pa.array(score, pa.float32()),
            "cosine": pa.array(cosine, pa.float32()),
            "kernel": pa.array(kernel, pa.float32()),
        }
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Which rows are of one record: one that is trained on twice has two, and stands where the higher of them does."""

    code_N: np.ndarray  # of each row's record
    order_N: np.ndarray  # rows, those of a record beside each other, in their order
    starts_R: np.ndarray  # where each record's begin

    @classmethod
    def of(cls, record_ids: pa.ChunkedArray) -> Records:
        """Find them by their names."""
        code = record_ids.combine_chunks().dictionary_encode().indices.to_numpy()
        order = np.argsort(code, kind="stable")  # nothing to sort where every record has one row
        return cls(code_N=code, order_N=order, starts_R=np.flatnonzero(np.diff(code[order], prepend=-1)))

    def near_ends(self, score_N: np.ndarray, count: int) -> np.ndarray:
        """Give the rows of the `count` highest and `count` lowest records, in order, and of some more: all that are equal to the last."""
        once = len(self.starts_R) == len(score_N)
        value = score_N if once else np.maximum.reduceat(score_N[self.order_N], self.starts_R)
        if len(value) <= 2 * count:
            return np.arange(len(score_N))
        low, high = _levels(value, count)
        near = np.flatnonzero((value <= low) | (value >= high))
        return near if once else np.flatnonzero(np.isin(self.code_N, self.code_N[self.order_N[self.starts_R[near]]]))

    def ends(self, rows: np.ndarray, score: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Rank the records of some rows -> ranks 1, 2, .. of the highest and -1, -2, .. of the lowest, and which of the rows they are.

        Equal ones in the plan's order.
        """
        falling = np.lexsort((rows, -score))
        _, best = np.unique(
            self.code_N[rows[falling]], return_index=True
        )  # a record's highest row, of equal ones its first
        ranked = falling[np.sort(best)]
        count = min(count, len(self.starts_R) // 2)
        rank = np.arange(1, count + 1)
        return np.concatenate([rank, -rank]), np.concatenate([ranked[:count], ranked[::-1][:count]])


def _levels(value_R: np.ndarray, count: int) -> tuple[float, float]:
    """Find two levels: at or below one lie the `count` lowest, at or above the other the highest, and few more.

    Of runs of values the lowest and the highest alone are compared.
    """
    run = max(1, len(value_R) // (16 * count))
    runs = value_R[: len(value_R) // run * run].reshape(-1, run)
    low, high = np.partition(runs.min(1), count - 1)[count - 1], np.partition(runs.max(1), -count)[-count]
    return float(low), float(high)
