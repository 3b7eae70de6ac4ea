"""A study: the whole pipeline once for each variant of a recipe, then one table and its figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow, tags

from flows.full_pipeline import full_pipeline
from flows.halving import halve
from tasks.of_study.summary import named, outcome_of, summarise
from tasks.of_study.variants import runs
from tasks.running.named import STUDY, name_of_run


@flow(name="tinyllava", flow_run_name=name_of_run, persist_result=False)
def study(
    study: str, overrides: dict[str, Any] | None = None, workspace: str = "workspace", halving: bool = False
) -> Path:
    """Run every variant, one after the other; what variants share is made once. A run that fails stops no other.

    Args:
        study: A name in tinyllava_core/study, or a path to a YAML file.
        overrides: Fields to set on every variant, by dotted key: {"sft.epochs": 1}.
        workspace: The folder of all artifacts; the table is in its studies/.
        halving: Successive halving: only the variants whose held-out loss is lower go on, as the study's section says.
    """
    planned = runs(study, overrides, halving)
    with tags(f"{STUDY}{named(study)}"):
        going, rungs = halve(study, planned, workspace) if halving else (planned, [])
        ended = [outcome_of(full_pipeline(run.recipe, run.overrides, workspace, return_state=True)) for run in going]
    return summarise(study, going, ended, workspace, rungs)
