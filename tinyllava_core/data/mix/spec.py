"""What decides a mix besides its sources and benchmarks: the spec of its artifact. It mixes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tinyllava_core.artifact import file_sha256
from tinyllava_core.data.manifest.manifest import load
from tinyllava_core.recipe import Recipe


def mix_spec(recipe: Recipe, stage: str) -> dict[str, Any]:
    """Give the spec of a stage's mix: sources by their manifests' names, a person's own tables by their bytes.

    Raises BadInput if a manifest is not there.
    """
    training = recipe.training(stage)
    asked = training.contamination
    return {
        "entries": [
            entry.model_dump() | {"source": load(entry.source).name, "scores": _bytes_of(entry.scores)}
            for entry in training.mix
        ],
        "duplicates": training.duplicates,
        "contamination": asked.model_dump(exclude={"against"}) | {"vg_image_data": _bytes_of(asked.vg_image_data)},
        "seed": recipe.seed,
    }


def _bytes_of(path: str | None) -> str | None:
    return file_sha256(Path(path).expanduser()) if path is not None else None
