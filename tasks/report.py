"""Stage `report`: the page of a run, and the table of its scores in Prefect. The page is made in report/page.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext

from tasks.progress import LOG
from tasks.record import record
from tasks.run import Run
from tasks.score import Score, pair
from tinyllava_core.artifact import Artifact
from tinyllava_core.report import page as core
from tinyllava_core.report.gather import gather
from tinyllava_core.results import EvaluateResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run leaves to look at."""

    scores: tuple[Score, ...]
    checkpoint: Path
    report: Path
    lineage: Path


@task(name="report", cache_policy=NO_CACHE, persist_result=False)
def report(run: Run, trained: Artifact, scores: Sequence[Artifact], exported: Artifact) -> Outcome:
    """Write the page of a run. Another run with the same recipe and artifacts has the same page: the first one's."""
    inputs = {"checkpoint": trained, "export": exported}
    for scored in scores:
        result = scored.result(EvaluateResult)
        inputs[f"evaluate {result.benchmark}{' blind' if result.blind else ''}"] = scored
    made = record(
        run,
        "report",
        "",
        core.VERSION,
        {"recipe": run.recipe},
        inputs,
        lambda folder: core.write_report(gather(run.workspace, run.run_id, run.recipe), folder / "report.html"),
    )
    rows = pair(scores)
    _show(rows)
    return Outcome(
        scores=tuple(rows),
        checkpoint=trained.folder / "checkpoint",
        report=made.folder / "report.html",
        lineage=run.workspace / "lineage.duckdb",
    )


def _show(rows: Sequence[Score]) -> None:
    """Show the scores as a table on Prefect's page of the run."""
    if TaskRunContext.get() is None:
        return
    try:
        create_table_artifact([row.cells() for row in rows], key="scores", description="Scores, percent")
    except Exception as error:  # a picture of the scores, not the scores
        LOG.warning("the scores are not shown in Prefect: %s", error)
