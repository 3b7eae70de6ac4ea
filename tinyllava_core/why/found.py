"""What hangs on a checkpoint in a workspace: its plan and shards, its evaluations, its store. It makes nothing."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from tinyllava_core import checkpoints
from tinyllava_core.artifact import Artifact
from tinyllava_core.errors import BadInput
from tinyllava_core.intact import finished
from tinyllava_core.job import HEAD
from tinyllava_core.recipe import Recipe
from tinyllava_core.results import EvaluateResult
from tinyllava_core.settings.condition import SEEN


def trained(workspace: Path, word: str) -> Artifact:
    """Find the training that a word for a checkpoint names. Raises BadInput for a checkpoint that no training here made."""
    found = checkpoints.find(workspace, word)
    if isinstance(found, Path) or found.stage == "start":
        raise BadInput(
            f"checkpoint {word!r} was not trained in {workspace}, so no plan says what went into it; name one that was"
        )
    return found


def recipe_of(workspace: Path, training: Artifact) -> Recipe:
    """Give the recipe that a training was made by. Raises BadInput if no run tells of it."""
    told = checkpoints.recipe_behind(workspace, training)
    if told is None:
        raise BadInput(f"{training.folder}: no run of this workspace tells by which recipe it was made")
    return Recipe.parse(told, f"the recipe of {training.fingerprint}")


def evaluations_of(workspace: Path, training: Artifact) -> list[Artifact]:
    """Find the evaluations of a checkpoint with the pictures as they are, by their benchmark. Raises BadInput if there is none."""
    found = {}
    for artifact in _made(workspace, "evaluate"):
        if artifact.manifest()["inputs"].get("checkpoint") == training.fingerprint:
            result = artifact.result(EvaluateResult)
            if result.condition == SEEN and (artifact.folder / "answers.jsonl").is_file():
                found[result.benchmark] = artifact
    if not found:
        raise BadInput(
            f"checkpoint {training.fingerprint} has answered no benchmark here; `tinyllava evaluate {training.fingerprint} BENCHMARK` first"
        )
    return [found[name] for name in sorted(found)]


def kept_gradients(training: Artifact) -> Path | None:
    """Find the gradients that a training kept of its records, if they were made by the random matrices that answers get."""
    path = training.folder / "record_gradients.parquet"
    if not path.is_file():
        return None
    told = pq.read_schema(path).metadata or {}
    return path if all(told.get(name.encode()) == str(value).encode() for name, value in HEAD.items()) else None


def store_of(workspace: Path, training: Artifact) -> Artifact:
    """Find the newest store of a checkpoint. Raises BadInput if there is none."""
    found = [
        one for one in _made(workspace, "attribute") if one.manifest()["inputs"]["checkpoint"] == training.fingerprint
    ]
    if not found:
        raise BadInput(
            f"checkpoint {training.fingerprint} has no store of gradients; `tinyllava attribute {training.fingerprint}` makes it "
            "(a forward pass over its records: about a third of its training)"
        )
    return max(found, key=lambda one: one.manifest()["made_at"])


def checks_of(workspace: Path, store: Artifact) -> list[Artifact]:
    """Find the checks of a store."""
    return [
        one for one in _made(workspace, "attribution_check") if one.manifest()["inputs"]["store"] == store.fingerprint
    ]


def _made(workspace: Path, stage: str) -> list[Artifact]:
    return [
        Artifact(stage=stage, fingerprint=folder.name, folder=folder, made=False)
        for folder, _ in finished(workspace / "artifacts" / stage)
    ]
