"""The loss of every answer of every record, at its record's own step, from the pass that trains on it: record_losses.parquet.

It runs no model. Written beside each saved state, so that a killed run has every row once; about 20 bytes an answer.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from tinyllava_core.artifact import aside_of
from tinyllava_core.data.tensors.example import Pack
from tinyllava_core.durable import publish
from tinyllava_core.train.engines.ranks import rank

FILE = "record_losses.parquet"
SCHEMA = pa.schema(
    [
        ("step", pa.int32()),
        ("pack", pa.int32()),
        ("slot", pa.int32()),  # of the record in the pack: the plan's
        ("turn", pa.int16()),  # which of the record's supervised answers, from 0
        ("loss_sum", pa.float32()),  # over the answer's tokens, before the step's update
        ("num_supervised", pa.int32()),
    ]
)
_KEY = ("step", "pack", "slot")


class RecordLosses:
    """What one rank has seen since the last saved state, and the parts on the disk."""

    def __init__(self, out: Path) -> None:
        self.out, self._home = out, out / "record_losses"
        self._rows: list[np.ndarray] = []  # [answers, 5] of each pass: step, pack, slot, turn, tokens
        self._sums: list[Tensor] = []  # [answers] of each pass, where the model is

    def cut(self, first_step: int) -> None:
        """Forget what a killed life saw from `first_step` on. Rank 0 calls this."""
        self._home.mkdir(exist_ok=True)
        for part in self._home.iterdir():
            if _first(part) >= first_step:
                part.unlink()

    def add(self, step: int, number: int, losses_S: Tensor, pack: Pack) -> None:
        """Take the loss of each supervised token of a pack, or of half of one; `number`: of the pack in its step."""
        assert pack.places is not None
        answer_S, record_S = pack.places.answer_S, pack.places.record_S
        if not len(answer_S):
            return
        where = answer_S.to(losses_S.device, non_blocking=True)
        rows = _answers(answer_S.numpy(), record_S.numpy())
        sums = torch.zeros(len(rows), dtype=torch.float64, device=losses_S.device)
        self._sums.append(sums.index_add_(0, where, losses_S.double()))
        self._rows.append(np.column_stack([np.full(len(rows), step), np.full(len(rows), number), rows]))

    def save(self, next_step: int) -> None:
        """Write this rank's rows of the steps before `next_step` that are not on the disk yet."""
        if not self._rows:
            return
        rows, sums = np.concatenate(self._rows), torch.cat(self._sums).cpu().numpy()
        columns = [rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3], sums.astype(np.float32), rows[:, 4]]
        table = pa.table([pa.array(c).cast(f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)
        path = self._home / f"{int(rows[0, 0]):08d}-{next_step:08d}-{rank()}.parquet"
        pq.write_table(table, aside := aside_of(path))
        publish(aside, path)
        self._rows, self._sums = [], []

    def join(self, plan: Path) -> None:
        """Put the parts of all ranks together, in the plan's order, with each record's name and source."""
        parts = [pq.read_table(part, schema=SCHEMA) for part in sorted(self._home.glob("[0-9]*.parquet"))]
        seen = pa.concat_tables(parts or [SCHEMA.empty_table()])
        planned = pq.read_table(plan / "plan.parquet", columns=[*_KEY, "record_id", "source"])
        names = pc.index_in(_keys(seen), _keys(planned))  # the plan has each place once
        for column in ("record_id", "source"):
            seen = seen.append_column(column, planned[column].combine_chunks().take(names))
        order = [(name, "ascending") for name in (*_KEY, "turn")]
        pq.write_table(seen.sort_by(order), aside := aside_of(self.out / FILE))
        publish(aside, self.out / FILE)

    def clear(self) -> None:
        """Take the parts away: they are in the file."""
        shutil.rmtree(self._home, ignore_errors=True)


def _answers(answer_S: np.ndarray, record_S: np.ndarray) -> np.ndarray:
    """Tell of each answer its record's slot, which of the record's it is, and its tokens -> [answers, 3]."""
    starts = np.flatnonzero(np.diff(answer_S, prepend=-1))
    slot = record_S[starts]
    first = np.searchsorted(slot, slot)  # slots ascend
    return np.column_stack([slot, np.arange(len(slot)) - first, np.diff(starts, append=len(answer_S))])


def _keys(table: pa.Table) -> pa.Array:
    """Make one number of step, pack and slot: 2**20 packs a step, 2**20 records a pack, and steps up to 2**23."""
    step, pack, slot = (table[name].to_numpy().astype(np.int64) for name in _KEY)
    return pa.array((step << 40) | (pack << 20) | slot)


def _first(part: Path) -> int:
    digits = part.name.split("-")[0].lstrip(".")
    return int(digits) if digits.isdigit() else 0
