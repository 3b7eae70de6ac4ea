"""Collect what the page of a run is made from, out of the lineage rows that its stages have left so far.

It reads the fragments themselves: a run tells of itself before it has ended, and needs no database for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from pydantic import ValidationError

from tinyllava_core.artifact import Artifact
from tinyllava_core.errors import BadInput
from tinyllava_core.recipe import Recipe
from tinyllava_core.report.facts import RunFacts

LATEST = "latest"
_TOLD = 5  # runs named in an error


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
        flow_run_id=run["flow_run_id"],
        running=tuple(_running(workspace, run_id, {row["fingerprint"] for row in stages})),
        times={(row["stage"], row["name"]): (row["started_at"], row["seconds"]) for row in stages},
    )


def _running(workspace: Path, run_id: str, ended: set[str]) -> Iterator[tuple[str, str, Path]]:
    for row in _left(workspace, "begun", run_id):
        folder = workspace / "artifacts" / row["stage"] / f".{row['fingerprint']}.partial"
        if row["fingerprint"] not in ended and folder.is_dir():
            yield row["stage"], row["name"], folder


def state_of(workspace: Path, run_id: str) -> str:
    """Tell how a run stands: Running, Killed (its process is gone), or how it ended, in Prefect's word."""
    if ended := _left(workspace, "run_end", run_id):
        return str(ended[0]["state"])
    from tinyllava_core.lineage.running import tell_killed  # which brings DuckDB: pages are written without it

    tell_killed(workspace)
    return "Killed" if _left(workspace, "killed", run_id) else "Running"


def gather_named(workspace: Path, word: str) -> RunFacts:
    """Collect the run that a word names: its id, the first letters of it, or `latest`.

    Raises BadInput, with the runs that there are, if it names none or several, or a run of a recipe that this version cannot read.
    """
    runs = sorted(unquote(path.stem) for path in _folder(workspace, "run").glob("*.parquet"))
    found = [one for one in runs if one == word] or [one for one in runs if one.startswith(word)]
    if word == LATEST and runs:
        found = [max(runs, key=lambda one: _left(workspace, "run", one)[0]["started_at"])]
    if not runs:
        raise BadInput(f"run {word!r}: {workspace} has no run yet; is it the right workspace?")
    if len(found) != 1:
        told, fault = ", ".join((found or runs)[-_TOLD:]), "can be several" if found else "there is none"
        raise BadInput(f"run {word!r}: {fault}; expected `latest`, a run's id or its first letters: {told}")
    (run,) = _left(workspace, "run", found[0])
    try:
        recipe = Recipe.model_validate(yaml.safe_load(run["recipe_yaml"]))
    except ValidationError as error:
        raise BadInput(f"run {found[0]}: another version's recipe, which this one cannot read: {error}") from None
    return gather(workspace, found[0], recipe)


def _folder(workspace: Path, table: str) -> Path:
    return workspace / "lineage" / "fragments" / table


def _left(workspace: Path, table: str, run_id: str) -> list[dict[str, Any]]:
    folder = _folder(workspace, table)
    begin = quote(run_id, safe=" ")
    read = [pq.ParquetFile(path).read() for path in sorted(folder.glob("*.parquet")) if path.name.startswith(begin)]
    rows: list[dict[str, Any]] = pa.concat_tables(read).to_pylist() if read else []
    return [row for row in rows if row["run_id"] == run_id]
