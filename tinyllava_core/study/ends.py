"""Whether the end of a training has what the whole of it has: a last loss is the loss of whatever came last. It reads the plan alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from tinyllava_core.study.table import Finished

END = 0.1  # of the planned places: the last ones
POINTS, ERRORS = (
    10.0,
    4.0,
)  # a source's share of them is another if it is off by more of both: points, standard errors of a fair draw


def uneven(plan: Path) -> str:
    """Name the source whose share at the end of a plan is furthest from its share of the whole; "" where that may be a fair draw."""
    table = pq.read_table(plan / "plan.parquet", columns=["step", "source"])
    order = np.argsort(table["step"].to_numpy(), kind="stable")
    names, codes = np.unique(table["source"].to_numpy(zero_copy_only=False).astype(str)[order], return_inverse=True)
    last = codes[-max(1, round(END * len(codes))) :]
    whole, end = (np.bincount(part, minlength=len(names)) / len(part) for part in (codes, last))
    error = np.sqrt(whole * (1 - whole) / len(last))
    off = 100 * np.abs(end - whole)
    off[off <= np.maximum(POINTS, 100 * ERRORS * error)] = 0.0
    if not off.any():
        return ""
    most = int(off.argmax())
    return f"{names[most]} {100 * end[most]:.0f} % there, {100 * whole[most]:.0f} % of the whole"


def told(runs: Sequence[Finished]) -> str:
    """Warn where last losses are of different data; "" where they are not."""
    first = {run.variant: run.uneven_end for run in reversed(runs) if run.uneven_end}
    if not first:
        return ""
    named = "; ".join(f"{variant}: {what}" for variant, what in reversed(first.items()))
    return f"Last losses do not compare: not every variant's last tenth of records has its sources as the whole has them ({named})."
