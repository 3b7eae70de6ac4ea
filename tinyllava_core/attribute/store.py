"""The store of a checkpoint: a small gradient of every record of its plan, and of every answer it gave. It compares nothing.

Written in parts of some steps, so that a killed one goes on; a row is int8 with one scale (docs/why.md has what that costs).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from tinyllava_core.attribute.asked import Given, packs
from tinyllava_core.attribute.sketch import Sketches
from tinyllava_core.data.tensors.example import Pack
from tinyllava_core.data.tensors.stream import PlannedPacks
from tinyllava_core.evaluate.answer.answer import Answerer
from tinyllava_core.model.sketch import Found, Narrow
from tinyllava_core.parts import Vision
from tinyllava_core.train.kept.gradients import gradient_columns, write
from tinyllava_core.train.passes import given as arguments

RECORDS_A_PART = 4096


def record_parts(
    packs: PlannedPacks, plan: Path, sketches: Sketches, precision: str, device: torch.device, home: Path
) -> Iterator[tuple[int, int]]:
    """Write the parts of the store that are not there yet -> (steps done, steps) after each."""
    columns = ["step", "pack", "slot", "record_id", "source", "num_supervised"]
    planned = pq.read_table(plan / "plan.parquet", columns=columns)
    step = planned["step"].to_numpy()
    num_steps = len(packs.num_packs)
    each = max(1, RECORDS_A_PART // max(packs.num_records))
    home.mkdir(parents=True, exist_ok=True)
    for first in range(0, num_steps, each):
        last = min(first + each, num_steps)
        path = home / f"records-{first:08d}.parquet"
        if not path.is_file():
            rows = slice(*np.searchsorted(step, [first, last]).tolist())
            mine = planned.slice(rows.start, rows.stop - rows.start)
            found = [
                _run(sketches, packs[at, number], packs.reading.vision, precision, device)
                for at in range(first, last)
                for number in range(packs.num_packs[at])
            ]
            table = _with_gradients(mine, found)
            write(table, path)
        yield last, num_steps


def questions(
    answerer: Answerer, given: list[Given], sketches: Sketches, precision: str, device: torch.device
) -> pa.Table:
    """Give the gradient of each answer, by the same random matrices."""
    found = [_run(sketches, pack, answerer.loaded.vision, precision, device) for _, pack in packs(answerer, given)]
    return _with_gradients(_told(given), found)


def outcomes(answerer: Answerer, given: list[Given], precision: str, device: torch.device) -> pa.Table:
    """Give each answer's loss under a checkpoint, and whether that would say it: no gradients."""
    model = answerer.loaded.model
    sketches = Sketches(model, hidden=1, error=1, side=1, layers=False, seed=0)
    found = [_run(sketches, pack, answerer.loaded.vision, precision, device) for _, pack in packs(answerer, given)]
    return _with_losses(_told(given), found)


def _run(sketches: Sketches, pack: Pack, vision: Vision, precision: str, device: torch.device) -> Found:
    there = pack.apart().to(device)  # a record's gradients are its own, also in front of a picture that another shows
    assert there.places is not None
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        return sketches.of(arguments(there, vision), there.record_T, there.places.record_S, len(there.places.lengths))


def _told(given: list[Given]) -> pa.Table:
    columns = ("benchmark", "question_id", "text", "answer", "was_right")
    return pa.table({name: pa.array([getattr(one, name) for one in given]) for name in columns})


def _with_losses(table: pa.Table, found: list[Found]) -> pa.Table:
    loss = torch.cat([one.loss_R for one in found]).cpu().numpy() if found else np.zeros(0, np.float32)
    greedy = torch.cat([one.greedy_R for one in found]).cpu().numpy() if found else np.zeros(0, bool)
    return table.append_column("loss", pa.array(loss)).append_column("greedy", pa.array(greedy))


def _with_gradients(table: pa.Table, found: list[Found]) -> pa.Table:
    """Put int8 rows beside the places; `norm` is the gradient's own, before rounding."""
    table = _with_losses(table, found)
    for name in ("head", "layers"):
        parts = [getattr(one, f"{name}_RK") for one in found]
        if any(part is None for part in parts):
            continue
        for column, cells in gradient_columns(name, Narrow.of(torch.cat(parts))).items():
            table = table.append_column(column, cells)
    return table
