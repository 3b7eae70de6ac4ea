"""The loss of every answer of every record, at its record's own step, from the pass that trains on it: record_losses.parquet.

It runs no model. About 20 bytes an answer.
"""

from __future__ import annotations

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
from tinyllava_core.train.kept.parts import KEY, Parts, keys

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


class RecordLosses:
    """What one rank has seen since the last saved state, and the parts on the disk."""

    def __init__(self, out: Path) -> None:
        self.parts = Parts(out, "record_losses", SCHEMA)
        self._rows: list[np.ndarray] = []  # [answers, 5] of each pass: step, pack, slot, turn, tokens
        self._sums: list[Tensor] = []  # [answers] of each pass, where the model is

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
        self.parts.write(table, next_step)
        self._rows, self._sums = [], []

    def join(self, plan: Path) -> None:
        """Put the parts of all ranks together, in the plan's order, with each record's name and source."""
        seen = self.parts.read()
        planned = pq.read_table(plan / "plan.parquet", columns=[*KEY, "record_id", "source"])
        names = pc.index_in(keys(seen), keys(planned))  # the plan has each place once
        for column in ("record_id", "source"):
            seen = seen.append_column(column, planned[column].combine_chunks().take(names))
        order = [(name, "ascending") for name in (*KEY, "turn")]
        pq.write_table(seen.sort_by(order), aside := aside_of(self.parts.file))
        publish(aside, self.parts.file)


def _answers(answer_S: np.ndarray, record_S: np.ndarray) -> np.ndarray:
    """Tell of each answer its record's slot, which of the record's it is, and its tokens -> [answers, 3]."""
    starts = np.flatnonzero(np.diff(answer_S, prepend=-1))
    slot = record_S[starts]
    first = np.searchsorted(slot, slot)  # slots ascend
    return np.column_stack([slot, np.arange(len(slot)) - first, np.diff(starts, append=len(answer_S))])
