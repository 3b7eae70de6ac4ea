"""How much each record of a store pulls at each answer: cosines to rank records for one answer, a kernel score for sums.

A cosine ranks the records of one answer best and must never be summed: sums of it rank mixes backwards. The kernel, (G'G + l)^-1 of the
head's gradients, is what sums are made of. Neither's size means anything across answers. numpy alone; nothing is trained here.
Source of both: docs/why.md, where each is held against retraining.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Product = Callable[
    [np.ndarray], np.ndarray
]  # the int8 numbers of some rows, [N, K] -> [L, N] float32, until it is called again
Multiply = Callable[[np.ndarray], Product]  # what stands on the left of it, [L, K] float32

_BATCH = 1024  # rows of the store at once: what is made of them stays in a core's cache
_PAIRS = 2048  # of an answer and a record that are taken in float64 at once: 140 MB with all layers of a small model
_SCORES_BYTES = (
    2.5e9  # of the answers whose scores stand in memory: 8 bytes times the records, each; 1.2 M records: 260 answers
)
_TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Some rows of a store: int8 with one scale a row, of the head, and of all layers where the store has them."""

    table: pa.Table  # without the gradients
    small: tuple[np.ndarray, ...]  # [N, K] int8
    scale: tuple[np.ndarray, ...]  # [N] float32
    norm_N: np.ndarray  # length of each row of the whole; never 0

    @property
    def head_NK(self) -> np.ndarray:
        """Give the head's gradients, float32."""
        return self.small[0].astype(np.float32) * self.scale[0][:, None]

    @property
    def whole_NK(self) -> np.ndarray:
        """Give what cosines are taken of, float32: the head's and the layers' beside each other."""
        both = zip(self.small, self.scale, strict=True)
        return np.concatenate([small.astype(np.float32) * scale[:, None] for small, scale in both], 1)

    def take(self, places: np.ndarray) -> Block:
        """Give some of the rows."""
        return Block(
            table=self.table.take(places),
            small=tuple(one[places] for one in self.small),
            scale=tuple(one[places] for one in self.scale),
            norm_N=self.norm_N[places],
        )


def blocks(files: list[Path]) -> Iterator[Block]:
    """Read a store, some rows at a time."""
    for file in files:
        with pq.ParquetFile(file, memory_map=True) as opened:
            told = ("record_id", "source")
            columns = [
                name for name in opened.schema_arrow.names if name.startswith(("head", "layers")) or name in told
            ]
            for batch in opened.iter_batches(_BATCH, columns=columns):
                yield block_of(pa.Table.from_batches([batch]))


def block_of(table: pa.Table) -> Block:
    """Take the gradients of some rows apart from what is told of them."""
    parts = [name for name in ("head", "layers") if name in table.column_names]
    left = [name for name in table.column_names if not name.startswith(("head", "layers"))]
    small = tuple(_bytes(table[name]) for name in parts)
    scale = tuple(table[f"{name}_scale"].to_numpy() for name in parts)
    norm_N = np.sqrt(sum(_square(table, *one) for one in zip(parts, small, scale, strict=True)))
    return Block(table=table.select(left), small=small, scale=scale, norm_N=np.maximum(norm_N, _TINY))


def _square(table: pa.Table, name: str, small_NK: np.ndarray, scale_N: np.ndarray) -> np.ndarray:
    """Give the squared length of each row: the gradient's own, before rounding, where the store has it."""
    if f"{name}_norm" in table.column_names:
        return np.asarray(table[f"{name}_norm"].to_numpy() ** 2)
    rows = small_NK.astype(np.float32) * scale_N[:, None]
    return np.asarray(np.einsum("nk,nk->n", rows, rows))


def kernel_of(files: list[Path], damping: float) -> np.ndarray:
    """Give (G'G + damping x mean of the eigenvalues that can be nonzero)^-1 of a store's head gradients -> [K, K] float32."""
    gram, count = None, 0
    for block in blocks(files):
        head_NK = block.head_NK
        mine = head_NK.T @ head_NK
        gram, count = mine.astype(np.float64) if gram is None else gram + mine, count + len(head_NK)
    assert gram is not None, "a store has records"
    size = len(gram)
    level = max(float(np.trace(gram)) / min(count, size), 1e-30)
    return np.asarray(np.linalg.inv(gram + damping * level * np.eye(size)), np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The answers' side of both products."""

    unit_QK: np.ndarray  # gradients of the whole, of length 1
    toward_QK: np.ndarray  # those of the head, by the kernel

    @classmethod
    def of(cls, questions: pa.Table, kernel: np.ndarray) -> Asked:
        """Read them from a table of answers."""
        asked = block_of(questions)
        return cls(unit_QK=asked.whole_NK / asked.norm_N[:, None], toward_QK=asked.head_NK @ kernel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """All scores of some answers: what the check needs. A store keeps the ends of each ranking alone."""

    record_ids: pa.ChunkedArray
    sources: pa.ChunkedArray
    cosine_QN: np.ndarray
    kernel_QN: np.ndarray

    @property
    def score_QN(self) -> np.ndarray:
        """Rank by both: the mean of the two, each in its own standard deviations over the records of the answer."""
        return np.stack([self.score(number) for number in range(len(self.cosine_QN))])

    def score(self, number: int) -> np.ndarray:
        """Give one answer's -> [N]."""
        return self.standard(number).score(self.cosine_QN[number], self.kernel_QN[number])

    def standard(self, number: int) -> Standard:
        """Say what one answer's are measured in."""
        return Standard(cosine=_spread(self.cosine_QN[number]), kernel=_spread(self.kernel_QN[number]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Standard:
    """Mean and standard deviation of an answer's scores over the records."""

    cosine: tuple[float, float]
    kernel: tuple[float, float]

    def score(self, cosine_N: np.ndarray, kernel_N: np.ndarray) -> np.ndarray:
        """Give the mean of the two, each in its own deviations; in the numbers' own precision."""
        of_cosine, of_kernel = 0.5 / self.cosine[1], 0.5 / self.kernel[1]
        found = cosine_N * cosine_N.dtype.type(of_cosine)
        found += kernel_N * kernel_N.dtype.type(of_kernel)
        found -= found.dtype.type(self.cosine[0] * of_cosine + self.kernel[0] * of_kernel)
        return found


def _spread(row_N: np.ndarray) -> tuple[float, float]:
    mean = float(row_N.mean())
    away_N = row_N - row_N.dtype.type(mean)
    return mean, max(float(np.dot(away_N, away_N) / len(row_N)) ** 0.5, _TINY)


def in_float32(left_LK: np.ndarray) -> Product:
    """Multiply as BLAS does; attribute/narrow.py has a faster way, for a processor that multiplies int8."""
    return lambda small_NK: np.asarray(left_LK @ small_NK.T.astype(np.float32))


def all_scores(records: list[Path], questions: pa.Table, kernel: np.ndarray, multiply: Multiply = in_float32) -> Scores:
    """Score every record for every answer: 8 bytes a pair. A row's scale is put to the products, not to its numbers."""
    asked = Asked.of(questions, kernel)
    width = kernel.shape[1]  # of the head
    of_head = multiply(np.concatenate([asked.unit_QK[:, :width], asked.toward_QK]))
    of_layers = multiply(asked.unit_QK[:, width:]) if asked.unit_QK.shape[1] > width else None
    size = (len(questions), sum(pq.read_metadata(file).num_rows for file in records))
    cosine_QN, kernel_QN = np.empty(size, np.float32), np.empty(size, np.float32)
    told, first = [], 0
    for block in blocks(records):
        mine = slice(first, first := first + len(block.table))
        both = of_head(block.small[0])
        head, scale_N, norm_N = both[: size[0]], block.scale[0], block.norm_N
        if of_layers is None:
            np.multiply(head, scale_N / norm_N, out=cosine_QN[:, mine])
        else:
            np.divide(head * scale_N + of_layers(block.small[1]) * block.scale[1], norm_N, out=cosine_QN[:, mine])
        np.multiply(both[size[0] :], scale_N, out=kernel_QN[:, mine])
        told.append(block.table.select(["record_id", "source"]))
    whole = pa.concat_tables(told)
    return Scores(record_ids=whole["record_id"], sources=whole["source"], cosine_QN=cosine_QN, kernel_QN=kernel_QN)


def exact(
    records: list[Path], asked: Asked, answer_P: np.ndarray, place_P: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Score some pairs of an answer and a row of the store in float64 -> cosine [P], kernel [P]."""
    cosine_P, kernel_P = np.zeros(len(place_P)), np.zeros(len(place_P))
    order = np.argsort(place_P, kind="stable")
    first = 0
    for block in blocks(records):
        last = first + len(block.table)
        here = order[slice(*np.searchsorted(place_P, [first, last], sorter=order))]
        for some in range(0, len(here), _PAIRS):  # of a small store, one block holds the pairs of every answer
            of = here[some : some + _PAIRS]
            rows = block.take(place_P[of] - first)
            whole, unit = rows.whole_NK.astype(np.float64), asked.unit_QK[answer_P[of]]
            cosine_P[of] = np.einsum("pk,pk->p", whole, unit) / rows.norm_N
            toward = asked.toward_QK[answer_P[of]]
            kernel_P[of] = np.einsum("pk,pk->p", whole[:, : toward.shape[1]], toward)
        first = last
    return cosine_P, kernel_P


def some_at_once(
    records: list[Path], questions: pa.Table, kernel: np.ndarray, multiply: Multiply = in_float32
) -> Iterator[tuple[pa.Table, Scores]]:
    """Score every record for some answers at a time -> (those answers, their scores): what stands in memory is theirs."""
    num_records = sum(pq.read_metadata(file).num_rows for file in records)
    at_once = max(1, int(_SCORES_BYTES / (8 * max(1, num_records))))
    for first in range(0, len(questions), at_once):
        some = questions.slice(first, at_once)
        yield some, all_scores(records, some, kernel, multiply)


def files(store: Path) -> list[Path]:
    """List the files with the records' gradients."""
    return sorted(store.glob("records-*.parquet"))


def groups(scores: Scores, told: pa.Table) -> pa.Table:
    """Add up the kernel scores of each source for each answer. There is no such sum of cosines: it ranks groups backwards."""
    coded = scores.sources.combine_chunks().dictionary_encode()
    names, which = coded.dictionary.to_pylist(), coded.indices.to_numpy()
    sums = np.stack([np.bincount(which, row_N, len(names)) for row_N in scores.kernel_QN])
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


def _bytes(column: pa.ChunkedArray) -> np.ndarray:
    cells = column.combine_chunks()
    size = cells.type.byte_width
    small = np.frombuffer(cells.buffers()[1], np.int8)[cells.offset * size : (cells.offset + len(cells)) * size]
    return small.reshape(-1, size)
