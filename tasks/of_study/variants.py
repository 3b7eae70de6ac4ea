"""The runs of a study, looked at before any of them starts. Light: no Prefect here."""

from __future__ import annotations

from typing import Any

from tasks.source import check_manifests
from tinyllava_core.recipe import load as load_recipe
from tinyllava_core.study import grid
from tinyllava_core.study.grid import Planned as Planned


def runs(study: str, overrides: dict[str, Any] | None, halving: bool = False) -> list[Planned]:
    """List the runs of a study, every recipe and manifest looked at. Raises BadInput before anything is run."""
    planned = grid.runs(grid.load(study), overrides or {}, halving)
    for run in planned:
        check_manifests(load_recipe(run.recipe, run.overrides))
    return planned


def parts_of(study: str) -> tuple[float, ...]:
    """Give the parts of the last stage's steps after which a study's variants are measured and cut."""
    return grid.load(study).halving.at
