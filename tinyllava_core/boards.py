"""Weights & Biases, and Trackio, which has the same interface: where people look at curves. It knows no torch and no Prefect.

A training is one run there, under its artifact's fingerprint, so it goes on under the same name after a kill, in the group of
its recipe's settings; its scores come to it once they are known.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from tinyllava_core.errors import BadInput
from tinyllava_core.recipe import Recipe

_TAG, _NAME = 64, 100  # characters. Source: wandb 0.31, Settings.run_tags; its names and groups end at 128
PROJECT = "tinyllava"  # where WANDB_PROJECT or TRACKIO_PROJECT says no other


class Board:
    """One training's run on one board, open."""

    def __init__(self, board: str, folder: Path, recipe: Recipe, stage: str, fingerprint: str) -> None:
        """Open it; one that is there goes on. `folder`: where Weights & Biases keeps its files. Raises BadInput."""
        try:
            module = importlib.import_module(board)
        except ImportError:
            raise BadInput(
                f"watch.loggers: {board} is not installed; pip install {board}, or take it out of the recipe"
            ) from None
        name = f"{recipe.name[:_NAME]} {stage} {fingerprint[:6]}"
        told: dict[str, Any] = {
            "project": os.environ.get(f"{board.upper()}_PROJECT", PROJECT),
            "name": name,
            "group": group_of(recipe),
            "config": recipe.model_dump(mode="json"),
            "resume": "allow",
        }
        if board == "wandb":  # Trackio knows a run by its name
            folder.mkdir(parents=True, exist_ok=True)
            told |= {
                "dir": str(folder),
                "id": fingerprint,
                "job_type": stage,
                "tags": [*filter(None, [recipe.name[:_TAG]]), stage],
            }
        else:
            told |= {"embed": False}
        self._run = module.init(**told)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Send one step."""
        self._run.log(dict(numbers), step=step)

    def close(self) -> None:
        """End the run."""
        self._run.finish()


def group_of(recipe: Recipe) -> str:
    """Name what belongs together: the stages of one recipe's settings, by the six digits that Prefect's pages show too."""
    return f"{recipe.name[:_NAME]} {sha256(recipe.as_yaml().encode()).hexdigest()[:6]}"
