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
_AT_ONCE = 64  # answers whose scores stand in memory: 12 bytes times the records, each


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Some rows of a store."""

    table: pa.Table  # without the gradients
    head_NK: np.ndarray  # float32
    cosine_NK: np.ndarray  # what cosines are taken of, each row of length 1: of all layers where the store has them


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
    return Block(table=table.select(left), head_NK=head, cosine_NK=_unit(whole))


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
        return (_standard(self.cosine_QN) + _standard(self.kernel_QN)) / 2


def all_scores(records: list[Path], questions: pa.Table, kernel: np.ndarray) -> Scores:
    """Score every record for every answer: 8 bytes a pair."""
    asked = block_of(questions)
    toward_QK = asked.head_NK @ kernel
    ids, sources, cosines, kernels = [], [], [], []
    for block in blocks(records):
        ids += block.table["record_id"].to_pylist()
        sources += block.table["source"].to_pylist()
        cosines.append(asked.cosine_NK @ block.cosine_NK.T)
        kernels.append(toward_QK @ block.head_NK.T)
    return Scores(
        record_ids=ids, sources=sources, cosine_QN=np.concatenate(cosines, 1), kernel_QN=np.concatenate(kernels, 1)
    )


def some_at_once(records: list[Path], questions: pa.Table, kernel: np.ndarray) -> Iterator[tuple[pa.Table, Scores]]:
    """Score every record for some answers at a time -> (those answers, their scores): what stands in memory is theirs."""
    for first in range(0, len(questions), _AT_ONCE):
        some = questions.slice(first, _AT_ONCE)
        yield some, all_scores(records, some, kernel)


def files(store: Path) -> list[Path]:
    """List the files with the records' gradients."""
    return sorted(store.glob("records-*.parquet"))


def tails(scores: Scores, told: pa.Table, count: int = TAIL) -> pa.Table:
    """Keep the records that pull most for and most against each answer: rank 1, 2, .. and -1, -2, .."""
    found: dict[str, list] = {
        name: [] for name in ("benchmark", "question_id", "record_id", "source", "rank", "score", "cosine", "kernel")
    }
    whole = scores.score_QN
    for number, (name, question) in enumerate(
        zip(told["benchmark"].to_pylist(), told["question_id"].to_pylist(), strict=True)
    ):
        order = _firsts(np.argsort(-whole[number], kind="stable"), scores.record_ids)
        count = min(count, len(order) // 2)
        for rank, place in [
            *enumerate(order[:count], 1),
            *((-n, p) for n, p in enumerate(order[: -count - 1 : -1], 1)),
        ]:
            row = (
                name,
                question,
                scores.record_ids[place],
                scores.sources[place],
                rank,
                whole[number, place],
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


def _firsts(order: np.ndarray, record_ids: list[str]) -> list[int]:
    """Keep the first place of each record: one that is trained on twice has two rows."""
    seen: dict[str, int] = {}
    for place in order.tolist():
        seen.setdefault(record_ids[place], place)
    return list(seen.values())


def _rows(table: pa.Table, name: str) -> np.ndarray:
    cells = table[name].combine_chunks()
    size = cells.type.byte_width
    small = np.frombuffer(cells.buffers()[1], np.int8)[cells.offset * size : (cells.offset + len(cells)) * size]
    return small.reshape(-1, size).astype(np.float32) * table[f"{name}_scale"].to_numpy()[:, None]


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float32).tiny)


def _standard(rows: np.ndarray) -> np.ndarray:
    return (rows - rows.mean(1, keepdims=True)) / np.maximum(rows.std(1, keepdims=True), np.finfo(np.float32).tiny)
