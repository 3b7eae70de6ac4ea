"""What a checkpoint makes of the right answers, in two numbers. Nothing is run here: the losses are an outcomes table's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """Mean over the benchmarks of the mean over each one's questions."""

    log_probability: float  # of the right answer, natural logarithm, summed over its tokens
    right: float  # part of the questions whose right answer it would give, word for word


def value_of(table: pa.Table) -> Value:
    """Put one checkpoint's outcomes together: columns benchmark, loss, greedy."""
    names = np.array(table["benchmark"].to_pylist())
    loss, greedy = table["loss"].to_numpy(), table["greedy"].to_numpy(zero_copy_only=False)
    of = [names == name for name in sorted(set(names.tolist()))]
    return Value(
        log_probability=-float(np.mean([loss[mine].mean() for mine in of])),
        right=float(np.mean([greedy[mine].mean() for mine in of])),
    )


def value_in(folder: Path) -> Value:
    """Read what a retraining left."""
    return value_of(pq.read_table(folder / "outcomes.parquet", columns=["benchmark", "loss", "greedy"]))


def values_in(path: Path) -> Sequence[Value]:
    """Read what merges came to, in the order of the mixes."""
    rows = pq.read_table(path).to_pylist()
    return [Value(log_probability=row["log_probability"], right=row["right"]) for row in rows]
