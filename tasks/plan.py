"""Stage `plan`: every optimizer step of one training stage, laid out beforehand. The layout is made in data/plan/plan.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.record import record
from tasks.run import Run
from tasks.running.progress import showing
from tasks.running.retry import store_may_answer
from tasks.stage import stage
from tinyllava_core.artifact import Artifact
from tinyllava_core.data.plan import plan as core
from tinyllava_core.data.plan.sort import Sort, of_table, read_sort
from tinyllava_core.data.plan.void import NOTHING, Void, of_ids, read_ids
from tinyllava_core.errors import BadInput
from tinyllava_core.lineage.query import Answer, ask, confine
from tinyllava_core.lineage.store import open_read_only
from tinyllava_core.paths import expanded
from tinyllava_core.results import PlanResult


@stage(
    "plan", task_run_name="plan: {stage}", retries=2, retry_delay_seconds=[5, 60], retry_condition_fn=store_may_answer
)
def plan(run: Run, stage: str, shards: Artifact) -> Artifact:
    """Decide which records each step of a stage takes, and how they are packed."""
    void, processes = void_of(run, stage), run.recipe.launch.data_processes
    sort = sort_of(run, stage)
    spec = core.plan_spec(run.recipe, stage, void, sort)

    def make(folder: Path) -> PlanResult:
        with showing(f"plan {stage}") as show:
            parts = run.run_parts
            how: dict[str, Any] = {"processes": processes, "run_parts": parts, "on_progress": show}
            return core.plan(shards.folder, spec, folder, void=void, sort=sort, **how)

    return record(run, "plan", stage, core.version_of(spec), spec, {"shard": shards}, make, resumable=True)


def void_of(run: Run, stage: str) -> Void:
    """Find the records that a stage's `void` names. Raises BadInput if it names none."""
    word = run.recipe.training(stage).void
    if word is None:
        return NOTHING
    if not _is_query(word):
        return read_ids(expanded(word))
    found = _asked(run, word)
    if "record_id" not in found.columns:
        raise BadInput(f"{stage}.void: {word!r} gives columns {', '.join(found.columns)}; expected one named record_id")
    place = found.columns.index("record_id")
    return of_ids((str(row[place]) for row in found.rows), word, all_there=False)


def sort_of(run: Run, stage: str) -> Sort | None:
    """Find the numbers that a stage's `sort_by` names. Raises BadInput where it gives none."""
    asked = run.recipe.training(stage).sort_by
    if asked is None or not _is_query(asked.scores):
        return read_sort(asked, stage)
    found = _asked(run, asked.scores)
    if not found.rows:
        raise BadInput(
            f"{stage}.sort_by: scores {asked.scores!r}: gives no record; is what it asks for in this workspace?"
        )
    try:
        table = pa.Table.from_arrays([pa.array(column) for column in zip(*found.rows, strict=True)], found.columns)
    except (pa.ArrowException, OverflowError, TypeError) as error:
        why = " ".join(str(error).split())
        raise BadInput(f"{stage}.sort_by: scores {asked.scores!r}: gives what is no column of a table: {why}") from None
    return of_table(table, asked, stage)


def _is_query(word: str) -> bool:
    return word.lstrip().upper().startswith(("SELECT", "WITH", "FROM"))


def _asked(run: Run, query: str) -> Answer:
    with open_read_only(run.workspace) as connection:
        confine(connection, run.workspace)
        return ask(connection, query, {})
