"""The last part of the story alone: a checkpoint that is there already, scored, with lineage and report as in a run."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.full_pipeline import full_pipeline
from tasks.report import Outcome
from tasks.running.named import name_of_run
from tasks.start import evaluation_of


@flow(name="tinyllava", flow_run_name=name_of_run, persist_result=False)
def evaluate(
    checkpoint: str = "latest",
    benchmarks: list[str] | None = None,
    overrides: dict[str, Any] | None = None,
    workspace: str = "workspace",
) -> Outcome:
    """Score a checkpoint. What was answered before is not answered again.

    Args:
        checkpoint: `latest`, a run's id, the first letters of an artifact's fingerprint, or a checkpoint's folder.
        benchmarks: Names in data_manifests/, or paths to manifests. Empty: those of the run that trained it.
        overrides: Fields of the recipe to set, by dotted key: {"evaluate.robustness": ["blur-3"]}.
        workspace: The folder of all artifacts and of lineage.duckdb.
    """
    recipe, laid_out = evaluation_of(workspace, checkpoint, benchmarks or [], overrides or {})
    return full_pipeline.fn(recipe, laid_out, workspace)
