"""What decides a mix, and what is told of one, besides sources and benchmarks: the specs of their artifacts. It mixes nothing."""

from __future__ import annotations

from typing import Any

from tinyllava_core.artifact import file_sha256
from tinyllava_core.data.manifest.manifest import load
from tinyllava_core.paths import expanded
from tinyllava_core.recipe import Recipe
from tinyllava_core.settings.mix import Contamination, Duplicates


def mix_spec(recipe: Recipe, stage: str) -> dict[str, Any]:
    """Give the spec of a stage's mix: sources by their manifests' names, a person's own tables by their bytes.

    Raises BadInput if a manifest is not there.
    """
    training = recipe.training(stage)
    asked = training.contamination
    dropped = asked.model_dump(exclude={"against"}) | {"vg_image_data": _bytes_of(asked.vg_image_data)}
    return {
        "entries": [
            entry.model_dump() | {"source": load(entry.source).name, "scores": _bytes_of(entry.scores)}
            for entry in training.mix
        ],
        "duplicates": training.duplicates.dropping,
        "contamination": dropped if asked.action == "drop" else None,
        "seed": recipe.seed,
    }


def overlap_spec(asked: Duplicates | Contamination) -> dict[str, Any]:
    """Give the spec of an overlap: how records are compared. With which benchmarks is told by the artifact's inputs."""
    if isinstance(asked, Duplicates):
        return asked.reporting.model_dump()
    return asked.model_dump(exclude={"action", "against"}) | {"vg_image_data": _bytes_of(asked.vg_image_data)}


def _bytes_of(path: str | None) -> str | None:
    return file_sha256(expanded(path)) if path is not None else None
