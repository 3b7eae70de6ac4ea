"""Two short roads that begin with a checkpoint: score it, or tune it on one's own data. They lay out a recipe, and run nothing.

A recipe of recipes/roads/ with the checkpoint's own model in it; the launch, the data's places and the arithmetic are those
of the run that trained the checkpoint, where one in this workspace did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tinyllava_core import checkpoints
from tinyllava_core.artifact import Artifact
from tinyllava_core.errors import BadInput
from tinyllava_core.recipe import RECIPES, load
from tinyllava_core.results import TRAININGS

Road = tuple[str, dict[str, Any]]  # a recipe's path, and the overrides that lay it out


def evaluation(
    workspace: Path, checkpoint: str, benchmarks: Sequence[str], overrides: Mapping[str, Any] | None = None
) -> Road:
    """Lay out the evaluation of a checkpoint. Without benchmarks: those of the run that trained it.

    Raises BadInput if there is no such checkpoint, or no benchmark to take.
    """
    found, keys, behind = _begin(workspace, checkpoint)
    told = behind.get("evaluate", {})
    chosen = list(benchmarks) or told.get("benchmarks", [])
    if not chosen and "evaluate.benchmarks" not in (overrides or {}):
        raise BadInput(
            f"which benchmarks? No run tells of {found}; name some, as in `tinyllava evaluate {checkpoint} pope mme` "
            "(`tinyllava data list` shows them)"
        )
    keys |= {f"evaluate.{key}": value for key, value in told.items()} | {"evaluate.benchmarks": chosen}
    return _laid_out("evaluate", {**keys, **(overrides or {})})


def tuning(workspace: Path, checkpoint: str, data: Sequence[str], overrides: Mapping[str, Any] | None = None) -> Road:
    """Lay out the tuning of a checkpoint on sources: names of manifests, or paths to them. Raises BadInput.

    At the rate of the last training of its whole language model, where a run tells of it; else at LLaVA-1.5's (recipes/roads/tune.yaml).
    """
    found, keys, behind = _begin(workspace, checkpoint)
    for stage in TRAININGS:  # connectors and adapters take rates that a whole language model does not
        training = behind.get(stage) or {}
        whole = training.get("language") or {}
        if whole.get("trainable_from_layer") is not None and not whole.get("lora"):
            keys |= {"sft.lr": training["lr"]}
    precision = (behind.get("sft") or behind.get("pretrain") or {}).get("precision")
    keys |= {"sft.mix": [{"source": source} for source in data], "sft.prompt": checkpoints.card_of(found)["prompt"]}
    keys |= {"sft.precision": precision, "evaluate.precision": precision} if precision else {}
    return _laid_out("tune", {**keys, **(overrides or {})})


def _begin(workspace: Path, checkpoint: str) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """Find a checkpoint -> its folder, what a recipe says of it, and the recipe that trained it (empty: nobody knows)."""
    found = checkpoints.find(workspace, checkpoint)
    folder = checkpoints.folder_of(found)
    word = found.fingerprint if isinstance(found, Artifact) else str(found)
    behind = (checkpoints.recipe_behind(workspace, found) if isinstance(found, Artifact) else None) or {}
    same: dict[str, Any] = {name: behind[name] for name in ("launch", "data", "inspect") if name in behind}
    return folder, {"start": word, "model": checkpoints.model_section(folder), **same}, behind


def _laid_out(name: str, overrides: dict[str, Any]) -> Road:
    recipe = str(RECIPES / "roads" / f"{name}.yaml")
    load(recipe, overrides)
    return recipe, overrides
