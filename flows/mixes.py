"""Which mix would be better: an expert for each group, merges for every mix, and trainings of the best in several orders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow

from flows.full_pipeline import full_pipeline
from tasks.of_study.variants import runs
from tasks.why.begin_again import begin_again
from tasks.why.mixes import confirm, merge, search


@flow(name="mix-search", flow_run_name="mix-search {study}", persist_result=False)
def mixes(study: str, overrides: dict[str, Any] | None = None, workspace: str = "workspace") -> Path:
    """Search the mixes of a study's recipe; give the folder of what was found.

    Args:
        study: A study with a section `mixes`: a name in tinyllava_core/study, or a path to a YAML file.
        overrides: Fields to set on its recipe, by dotted key.
        workspace: The folder of all artifacts.
    """
    whole = runs(study, overrides)[0]
    trained_on_all = full_pipeline(whole.recipe, whole.overrides, workspace)
    with begin_again(trained_on_all.checkpoint.parent.name, workspace) as (run, trained):
        asked = search(run, trained, study)
        return confirm(asked, merge(asked)).folder
