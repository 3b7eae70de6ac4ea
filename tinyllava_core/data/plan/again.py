"""A plan made of another plan: some of its records void, or only some of them planned anew. It reads no shard."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tinyllava_core.data.plan.part import Lengths, PlanSpec
from tinyllava_core.data.plan.plan import PLAN_SCHEMA, lay_out, write_plan
from tinyllava_core.data.plan.void import of_ids


def voided_plan(plan: Path, record_ids: Collection[str], out: Path) -> pa.Table:
    """Write the same places with some records void. Raises BadInput for an id that is not in the plan."""
    planned = pq.read_table(plan / "plan.parquet")
    if record_ids:
        void = of_ids(record_ids, f"{len(record_ids)} ids")
        void.check_in(planned["record_id"])
        planned = void.of(planned)
    return write_plan(planned, out)[0]


def smaller_plan(plan: Path, record_ids: Collection[str], out: Path) -> pa.Table:
    """Plan some of the records alone, in their order, by the plan's own spec: fewer steps, each as full as before. What is void stays void."""
    told = json.loads((plan / "result.json").read_text(encoding="utf-8"))["spec"]
    spec = PlanSpec.parse({key: told[key] for key in PlanSpec.model_fields if key in told}, str(plan))
    planned = pq.read_table(plan / "plan.parquet")
    of_ids(record_ids, f"{len(record_ids)} ids").check_in(planned["record_id"])
    first = pc.and_(pc.equal(planned["epoch"], 0), pc.is_in(planned["record_id"], pa.array(sorted(record_ids))))
    mine = planned.append_column("row", pa.array(np.arange(len(planned)))).filter(first).sort_by("position")
    lengths = Lengths(
        rows=np.arange(len(mine)),
        voided_rows=np.zeros(0, np.int64),
        voided_reasons=pa.array([], pa.string()),
        **{name: mine[name].to_numpy() for name in ("num_tokens", "num_supervised", "num_tiles", "truncated")},
    )
    value = mine["row"].to_numpy() if spec.sorted_sha256 else None  # a sorted plan's own order
    placed = lay_out(lengths, mine["num_images"].to_numpy(), spec, value)
    taken = mine.take(pa.array(placed.pop("which")))
    columns = {name: pa.array(placed[name]) if name in placed else taken[name] for name in PLAN_SCHEMA.names}
    smaller = pa.table(columns, schema=PLAN_SCHEMA)
    if "void" in taken.column_names:
        smaller = smaller.append_column("void", taken["void"])
    return write_plan(smaller, out)[0]
