"""How much each record of a store pulls at each answer: cosines to rank records for one answer, a kernel score for sums.

A cosine ranks the records of one answer best and must never be summed: sums of it rank mixes backwards. The kernel, (G'G + l)^-1 of the
head's gradients, is what sums are made of. Neither's size means anything across answers. numpy alone; nothing is trained here.
Source of both: docs/why.md, where each is held against retraining.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

TAIL = 100  # records kept at either end of each answer's ranking
_BATCH = 8192  # rows of the store at once
_SCORES_BYTES = (
    2.5e9  # of the answers whose scores stand in memory: 8 bytes times the records, each; 1.2 M records: 260 answers
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Some rows of a store."""

    table: pa.Table  # without the gradients
    head_NK: np.ndarray  # float32
    whole_NK: np.ndarray  # what cosines are taken of: of all layers too, where the store has them
    norm_N: np.ndarray  # the length of those rows


def blocks(files: list[Path]) -> Iterator[Block]:
    """Read a store, some rows at a time."""
    for file in files:
        with pq.ParquetFile(file) as opened:
            for batch in opened.iter_batches(_BATCH):
                yield block_of(pa.Table.from_batches([batch]))


def block_of(table: pa.Table) -> Block:
    """Turn rows of int8 into numbers."""
    head = _rows(table, "head")
    whole = np.concatenate([head, _rows(table, "layers")], 1) if "layers" in table.column_names else head
    left = [name for name in table.column_names if not name.startswith(("head", "layers"))]
    norm = np.sqrt(np.einsum("nk,nk->n", whole, whole))
    return Block(
        table=table.select(left), head_NK=head, whole_NK=whole, norm_N=np.maximum(norm, np.finfo(np.float32).tiny)
    )


def kernel_of(files: list[Path], damping: float) -> np.ndarray:
    """Give (G'G + damping x mean of the eigenvalues that can be nonzero)^-1 of a store's head gradients -> [K, K] float32."""
    gram, count = None, 0
    for block in blocks(files):
        mine = block.head_NK.T @ block.head_NK
        gram, count = mine.astype(np.float64) if gram is None else gram + mine, count + len(block.head_NK)
    assert gram is not None, "a store has records"
    size = len(gram)
    level = max(float(np.trace(gram)) / min(count, size), 1e-30)
    return np.asarray(np.linalg.inv(gram + damping * level * np.eye(size)), np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """All scores of a small store: what the check needs. A big one keeps the tails alone."""

    record_ids: list[str]
    sources: list[str]
    cosine_QN: np.ndarray
    kernel_QN: np.ndarray

    @property
    def score_QN(self) -> np.ndarray:
        """Rank by both: the mean of the two, each in its own standard deviations over the records of the answer."""
        return np.stack([self.score(number) for number in range(len(self.cosine_QN))])

    def score(self, number: int) -> np.ndarray:
        """Give one answer's -> [N]."""
        return (_standard(self.cosine_QN[number]) + _standard(self.kernel_QN[number])) / 2


def all_scores(records: list[Path], questions: pa.Table, kernel: np.ndarray) -> Scores:
    """Score every record for every answer: 8 bytes a pair."""
    asked = block_of(questions)
    toward_QK, unit_QK = asked.head_NK @ kernel, asked.whole_NK / asked.norm_N[:, None]
    size = (len(questions), sum(pq.read_metadata(file).num_rows for file in records))
    found = Scores(
        record_ids=[], sources=[], cosine_QN=np.empty(size, np.float32), kernel_QN=np.empty(size, np.float32)
    )
    for block in blocks(records):
        mine = slice(len(found.record_ids), len(found.record_ids) + len(block.table))
        found.record_ids.extend(block.table["record_id"].to_pylist())
        found.sources.extend(block.table["source"].to_pylist())
        found.cosine_QN[:, mine] = unit_QK @ block.whole_NK.T / block.norm_N  # the many rows themselves are not divided
        found.kernel_QN[:, mine] = toward_QK @ block.head_NK.T
    return found


def some_at_once(records: list[Path], questions: pa.Table, kernel: np.ndarray) -> Iterator[tuple[pa.Table, Scores]]:
    """Score every record for some answers at a time -> (those answers, their scores): what stands in memory is theirs."""
    num_records = sum(pq.read_metadata(file).num_rows for file in records)
    at_once = max(1, int(_SCORES_BYTES / (8 * max(1, num_records))))
    for first in range(0, len(questions), at_once):
        some = questions.slice(first, at_once)
        yield some, all_scores(records, some, kernel)


def files(store: Path) -> list[Path]:
    """List the files with the records' gradients."""
    return sorted(store.glob("records-*.parquet"))


def tails(scores: Scores, told: pa.Table, count: int = TAIL) -> pa.Table:
    """Keep the records that pull most for and most against each answer: rank 1, 2, .. and -1, -2, .."""
    found: dict[str, list] = {
        name: [] for name in ("benchmark", "question_id", "record_id", "source", "rank", "score", "cosine", "kernel")
    }
    records = _Records.of(scores.record_ids)
    for number, (name, question) in enumerate(
        zip(told["benchmark"].to_pylist(), told["question_id"].to_pylist(), strict=True)
    ):
        score_N = scores.score(number)
        for rank, place in records.ends(score_N, count):
            row = (
                name,
                question,
                scores.record_ids[place],
                scores.sources[place],
                rank,
                score_N[place],
                scores.cosine_QN[number, place],
                scores.kernel_QN[number, place],
            )
            for column, value in zip(found.values(), row, strict=True):
                column.append(value)
    kinds = {"rank": pa.int16(), **dict.fromkeys(("score", "cosine", "kernel"), pa.float32())}
    return pa.table({name: pa.array(values, kinds.get(name, pa.string())) for name, values in found.items()})


def groups(scores: Scores, told: pa.Table) -> pa.Table:
    """Add up the kernel scores of each source for each answer. There is no such sum of cosines: it ranks groups backwards."""
    names = sorted(set(scores.sources))
    which = np.array([names.index(source) for source in scores.sources])
    sums = np.stack([scores.kernel_QN[:, which == place].sum(1) for place in range(len(names))], 1)
    counts = np.bincount(which, minlength=len(names))
    questions = len(told)
    return pa.table(
        {
            "benchmark": np.repeat(np.array(told["benchmark"].to_pylist()), len(names)),
            "question_id": np.repeat(np.array(told["question_id"].to_pylist()), len(names)),
            "source": names * questions,
            "num_records": pa.array(np.tile(counts, questions), pa.int32()),
            "kernel_sum": pa.array(sums.ravel(), pa.float32()),
        }
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Records:
    """Which rows are of one record: one that is trained on twice has two, and stands where the higher of them does."""

    order_N: np.ndarray  # rows, those of a record beside each other, in their order
    starts_R: np.ndarray  # where each record's begin

    @classmethod
    def of(cls, record_ids: list[str]) -> _Records:
        _, inverse = np.unique(np.array(record_ids), return_inverse=True)
        order = np.argsort(inverse, kind="stable")
        return cls(order_N=order, starts_R=np.flatnonzero(np.diff(inverse[order], prepend=-1)))

    def ends(self, score_N: np.ndarray, count: int) -> list[tuple[int, int]]:
        """Give the rows of the highest records with ranks 1, 2, .., and of the lowest with -1, -2, ..; equal ones in the plan's order."""
        value, row = self._best(score_N)
        count = min(count, len(value) // 2)
        found = []
        for sign in (1, -1) if count else ():
            low = -sign * value
            near = np.flatnonzero(low <= np.partition(low, count - 1)[count - 1])  # all that are equal to the last, too
            first = near[np.lexsort((sign * row[near], low[near]))][:count]
            found += [(sign * rank, place) for rank, place in enumerate(row[first].tolist(), 1)]
        return found

    def _best(self, score_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give each record's highest score, and the first of its rows that has it."""
        score = score_N[self.order_N]
        if len(self.starts_R) == len(score):
            return score, self.order_N
        best = np.maximum.reduceat(score, self.starts_R)
        has_it = score == np.repeat(best, np.diff(self.starts_R, append=len(score)))
        return best, np.minimum.reduceat(np.where(has_it, self.order_N, len(score)), self.starts_R)


def _rows(table: pa.Table, name: str) -> np.ndarray:
    cells = table[name].combine_chunks()
    size = cells.type.byte_width
    small = np.frombuffer(cells.buffers()[1], np.int8)[cells.offset * size : (cells.offset + len(cells)) * size]
    return small.reshape(-1, size).astype(np.float32) * table[f"{name}_scale"].to_numpy()[:, None]


def _standard(row_N: np.ndarray) -> np.ndarray:
    return (row_N - row_N.mean()) / max(float(row_N.std()), np.finfo(np.float32).tiny)
