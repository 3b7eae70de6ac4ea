"""The runs of a study, looked at before any of them starts. Light: no Prefect here."""

from __future__ import annotations

from typing import Any

from tasks.source import check_manifests
from tinyllava_core.recipe import load as load_recipe
from tinyllava_core.study import grid
from tinyllava_core.study.grid import Planned


def runs(study: str, overrides: dict[str, Any] | None) -> list[Planned]:
    """List the runs of a study, every recipe and manifest looked at. Raises BadInput before anything is run."""
    planned = grid.runs(grid.load(study), overrides or {})
    for run in planned:
        check_manifests(load_recipe(run.recipe, run.overrides))
    return planned
