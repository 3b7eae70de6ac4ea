"""Collect what the page of a run is made from, out of the lineage rows that its stages have left so far.

It reads the fragments themselves: a run tells of itself before it has ended, and needs no database for it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from tinyllava_core.artifact import Artifact
from tinyllava_core.recipe import Recipe
from tinyllava_core.report.facts import RunFacts


def gather(workspace: Path, run_id: str, recipe: Recipe) -> RunFacts:
    """Collect a run from its rows in the lineage tables `run` and `stage`, whose keys begin with the run's id."""
    (run,) = _left(workspace, "run", run_id)
    stages = sorted(_left(workspace, "stage", run_id), key=lambda row: row["started_at"])
    return RunFacts(
        run_id=run_id,
        recipe=recipe,
        stages=tuple(
            (
                row["stage"],
                row["name"],
                Artifact(
                    stage=row["stage"],
                    fingerprint=row["fingerprint"],
                    folder=workspace / "artifacts" / row["stage"] / row["fingerprint"],
                    made=row["made"],
                ),
            )
            for row in stages
        ),
        overrides=json.loads(run["overrides_json"]),
        started_at=run["started_at"],
        git_commit=run["git_commit"],
        git_dirty=run["git_dirty"],
        packages=json.loads(run["packages_json"]),
        host=run["host"],
    )


def _left(workspace: Path, table: str, run_id: str) -> list[dict[str, Any]]:
    folder = workspace / "lineage" / "fragments" / table
    begin = quote(run_id, safe=" ")
    read = [pq.ParquetFile(path).read() for path in sorted(folder.glob("*.parquet")) if path.name.startswith(begin)]
    rows: list[dict[str, Any]] = pa.concat_tables(read).to_pylist() if read else []
    return [row for row in rows if row["run_id"] == run_id]
