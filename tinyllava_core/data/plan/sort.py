"""A plan in the order of a column about its records, such as the losses of a cheap training: easy ones first, or hard ones.

It is there to be studied against random orders, and is no default: docs/why.md. The table is read here; plan.py lays out.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tinyllava_core.errors import BadInput, nearest
from tinyllava_core.paths import expanded
from tinyllava_core.settings.training import SortBy


@dataclass(frozen=True, slots=True, kw_only=True)
class Sort:
    """What a plan is sorted by: a number for each record, the lowest first."""

    record_ids: pa.Array
    value_N: np.ndarray  # float64
    named_in: str  # for messages

    @property
    def sha256(self) -> str:
        """Hash the numbers by record, whatever order the table has them in."""
        by_name = np.argsort(np.array(self.record_ids.to_pylist()), kind="stable")
        names = "\n".join(self.record_ids.take(pa.array(by_name)).to_pylist())
        return sha256(names.encode() + self.value_N[by_name].astype("<f8").tobytes()).hexdigest()

    def of(self, record_ids: pa.ChunkedArray) -> np.ndarray:
        """Give the number of each record, NaN without one: those come last. Raises BadInput if none has one."""
        place = pc.index_in(record_ids.combine_chunks(), self.record_ids)
        found = pc.fill_null(pa.array(self.value_N).take(place), float("nan")).to_numpy(zero_copy_only=False)
        if np.isnan(found).all():
            raise BadInput(
                f"sort_by ({self.named_in}): names no record of this mix; expected record_id as in toy-chat-00000017"
            )
        return np.asarray(found)


def read_sort(asked: SortBy | None, stage: str) -> Sort | None:
    """Read the column that a stage's `sort_by` names. Raises BadInput if the table cannot be read, or as `of_table`."""
    if asked is None:
        return None
    try:
        table = pq.read_table(expanded(asked.scores))
    except (OSError, ValueError) as error:
        why = " ".join(str(error).split())
        raise BadInput(f"{stage}.sort_by: scores {asked.scores!r}: not a readable Parquet file: {why}") from None
    return of_table(table, asked, stage)


def of_table(table: pa.Table, asked: SortBy, stage: str) -> Sort:
    """Take record_id and the column of a table. Raises BadInput if it has no such column of numbers, or a record twice."""
    where = f"{stage}.sort_by: scores {asked.scores!r}"
    for name in ("record_id", asked.column):
        if name not in table.column_names:
            raise BadInput(
                f"{where}: no column {name!r}{nearest(name, table.column_names)}; found {', '.join(table.column_names)}"
            )
        if table.column_names.count(name) > 1:
            raise BadInput(f"{where}: column {name!r} is there twice; keep one")
    kind = table.schema.field(asked.column).type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        raise BadInput(f"{where}: column {asked.column!r} is of type {kind}; expected numbers, to sort by")
    try:
        ids = table["record_id"].combine_chunks().cast(pa.string())
    except pa.ArrowException:
        raise BadInput(f"{where}: column record_id is of type {table['record_id'].type}; expected text") from None
    if ids.null_count:
        raise BadInput(f"{where}: a record_id is NULL; leave such rows out")
    if len(pc.unique(ids)) < len(ids):
        raise BadInput(f"{where}: a record_id is there twice; keep one row for each record")
    value = pc.fill_null(table[asked.column].cast(pa.float64(), safe=False), float("nan")).to_numpy()
    value = value if asked.first == "low" else -value
    return Sort(record_ids=ids, value_N=_in_parts(value, asked.parts), named_in=asked.scores)


def _in_parts(value_N: np.ndarray, parts: int | None) -> np.ndarray:
    """Give each record its part's number, of so many equal parts of the table; equal records share one. None: its own number."""
    if parts is None:
        return value_N
    there = np.sort(value_N[~np.isnan(value_N)])
    part_N = (np.searchsorted(there, value_N) * parts // max(1, len(there))).astype(np.float64)
    return np.where(np.isnan(value_N), np.nan, part_N)
