"""A small gradient of every record's output head, at the record's own step, from the pass that trains on it: record_gradients.parquet.

The head is read where its weights stand whole on every engine: on its way into the forward pass, which it does not change. Its rows are
those of a store of gradients (attribute/store.py), so that a store can be made without a pass of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from tinyllava_core.artifact import aside_of
from tinyllava_core.data.tensors.example import Pack
from tinyllava_core.durable import publish
from tinyllava_core.model.sketch import Factors, HeadSketch, Narrow
from tinyllava_core.train.kept.parts import KEY, Parts, keys

_ON_DEVICE = 4096  # records whose numbers wait where the model is: 6 MB
_PLACE = [(name, pa.int32()) for name in KEY]


class RecordGradients:
    """What one rank has seen since the last saved state, and the parts on the disk. Made before an engine takes the model apart."""

    def __init__(self, out: Path, head: nn.Module, numbers: Mapping[str, int]) -> None:
        self.numbers, self._sketch = numbers, HeadSketch(head, **numbers)
        row = [
            ("loss", pa.float32()),
            ("greedy", pa.bool_()),
            ("head_norm", pa.float32()),
            ("head_scale", pa.float32()),
        ]
        schema = pa.schema([*_PLACE, *row, ("head", pa.binary(self._sketch.size))])
        self.parts = Parts(out, "record_gradients", schema)
        self._last: Factors | None = None
        self._waiting: list[tuple[np.ndarray, Narrow, Tensor, Tensor]] = []
        self._rows: list[pa.Table] = []

    def watch(self, head: nn.Module) -> None:
        """Look at what the head is given from now on. To be called when the engine has its own hooks: those gather the weights."""

        def look(_: nn.Module, given: tuple[Any, ...]) -> None:
            self._last = self._sketch.factors(given[0].detach(), given[1]) if torch.is_grad_enabled() else None

        head.register_forward_pre_hook(look)

    def add(self, step: int, number: int, pack: Pack) -> None:
        """Take what the pass over a pack, or over half of one, has shown; `number`: of the pack in its step."""
        assert pack.places is not None
        assert self._last is not None, "the pass went by the head"
        factors, self._last = self._last, None
        if not len(pack.places.record_S):
            return
        slots = np.unique(record_S := pack.places.record_S.numpy())
        of_S = torch.from_numpy(np.searchsorted(slots, record_S)).to(factors.loss_S.device, non_blocking=True)
        found = self._sketch.summed(factors, of_S, len(slots))
        place = np.column_stack([np.full(len(slots), step), np.full(len(slots), number), slots])
        self._waiting.append((place, Narrow.of(found.head_RK), found.loss_R, found.greedy_R))
        if sum(len(place) for place, *_ in self._waiting) >= _ON_DEVICE:
            self._bring()

    def _bring(self) -> None:
        """Take what waits from the device."""
        if not self._waiting:
            return
        places, narrow, losses, greedy = zip(*self._waiting, strict=True)
        place = np.concatenate(places)
        both = Narrow(**{name: torch.cat([getattr(one, name) for one in narrow]) for name in Narrow.__slots__})
        columns = {name: pa.array(place[:, column], pa.int32()) for column, name in enumerate(KEY)}
        columns["loss"] = pa.array(torch.cat(losses).cpu().numpy())
        columns["greedy"] = pa.array(torch.cat(greedy).cpu().numpy())
        self._rows.append(pa.table({**columns, **gradient_columns("head", both)}))
        self._waiting = []

    def save(self, next_step: int) -> None:
        """Write this rank's rows of the steps before `next_step` that are not on the disk yet."""
        self._bring()
        if self._rows:
            self.parts.write(pa.concat_tables(self._rows).cast(self.parts.schema), next_step)
        self._rows = []

    def join(self, plan: Path) -> None:
        """Put the parts of all ranks together: a row for every place of the plan, zero where a record supervises nothing."""
        seen = self.parts.read().combine_chunks()
        planned = pq.read_table(plan / "plan.parquet", columns=[*KEY, "record_id", "source", "num_supervised"])
        at = pc.index_in(keys(planned), keys(seen))
        nothing: dict[str, Any] = {"greedy": False, "head": bytes(self._sketch.size)}
        for field in list(self.parts.schema)[len(KEY) :]:
            cells = seen[field.name].take(at)
            planned = planned.append_column(field, cells.fill_null(pa.scalar(nothing.get(field.name, 0), field.type)))
        write(
            planned.replace_schema_metadata({name: str(value) for name, value in self.numbers.items()}), self.parts.file
        )


def write(table: pa.Table, path: Path) -> None:
    """Write a file of gradients whole, or not at all. They stand as they are: packed they save a tenth, and cost more than their scores."""
    plain = [name for name in table.column_names if pa.types.is_fixed_size_binary(table.schema.field(name).type)]
    packed = {name: "none" if name in plain else "zstd" for name in table.column_names}
    pq.write_table(
        table,
        aside := aside_of(path),
        compression=packed,
        use_dictionary=[name for name in table.column_names if name not in plain],
    )
    publish(aside, path)


def gradient_columns(name: str, rows: Narrow) -> dict[str, pa.Array]:
    """Give some gradients as the columns of a store; NAME_norm is the gradient's own, before rounding."""
    small = rows.small_RK.cpu().numpy()
    kind = pa.binary(small.shape[1])
    return {
        f"{name}_norm": pa.array(rows.norm_R.cpu().numpy()),
        f"{name}_scale": pa.array(rows.scale_R.cpu().numpy()),
        name: pa.FixedSizeBinaryArray.from_buffers(kind, len(small), [None, pa.py_buffer(small.tobytes())]),
    }
