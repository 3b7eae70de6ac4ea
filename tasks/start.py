"""Stage `start`: the checkpoint that a run begins with. One of this workspace is taken as it is, another is taken in."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from tasks.record import record
from tasks.run import Run
from tasks.running.progress import LOG
from tasks.stage import stage
from tasks.train import weights_id
from tinyllava_core import checkpoints
from tinyllava_core.artifact import Artifact, file_sha256
from tinyllava_core.errors import BadInput
from tinyllava_core.results import StartResult
from tinyllava_core.roads import Road, evaluation

VERSION = 1


@stage("start")
def start(run: Run) -> Artifact:
    """Find the checkpoint that the recipe starts from. Raises BadInput if its model is not the recipe's."""
    word = run.recipe.start
    assert word is not None
    found = checkpoints.find(run.workspace, word)
    if isinstance(found, Path):
        found = _taken_in(run, found)
    else:
        LOG.info("%s", f"{'start':<9} {found.stage:<16} {found.fingerprint}, as it is")
    _check_fits(run, checkpoints.folder_of(found), word)
    return found


def evaluation_of(workspace: str, checkpoint: str, benchmarks: list[str], overrides: dict[str, Any]) -> Road:
    """Lay out the evaluation of a checkpoint: a recipe's path, and what to set on it. Raises BadInput."""
    return evaluation(Path(workspace).expanduser().resolve(), checkpoint, benchmarks, overrides)


def mixes_behind(run: Run, started: Artifact | None) -> dict[str, Artifact]:
    """Find the mixes that the checkpoint of this workspace was trained on, by their training stages."""
    mixes: dict[str, Artifact] = {}
    while started is not None:
        shards = started.inputs_from("shard", run.workspace).get("shard")
        mixed = shards and shards.inputs_from("mix", run.workspace).get("mix")
        if mixed:
            mixes[started.stage] = mixed
        before = started.manifest()["inputs"].get("start")
        homes = [run.workspace / "artifacts" / kind for kind in checkpoints.KINDS]
        folder = next((home / before for home in homes if before and (home / before / "result.json").is_file()), None)
        started = folder and Artifact(stage=folder.parent.name, fingerprint=folder.name, folder=folder, made=False)
    return mixes


def _taken_in(run: Run, folder: Path) -> Artifact:
    """Make an artifact of a checkpoint from elsewhere. Raises BadInput if it is another program's."""
    checkpoints.card_of(folder)

    def make(out: Path) -> StartResult:
        shutil.copytree(folder, out / "checkpoint", copy_function=_link)
        weights = out / "checkpoint" / "model.safetensors"
        return StartResult(
            source=str(folder), size_bytes=weights.stat().st_size, checkpoint_sha256=file_sha256(weights)
        )

    return record(run, "start", folder.name, VERSION, {"files": weights_id(str(folder), None)}, {}, make)


def _link(source: str, target: str) -> None:
    """Let a file be in two places; on another disk, copy it."""
    try:
        os.link(Path(source).resolve(), target)
    except OSError:
        shutil.copy2(source, target)


def _check_fits(run: Run, folder: Path, word: str) -> None:
    has, wanted = checkpoints.model_section(folder), run.recipe.model
    for field in ("vision", "connector", "language", "vision_layer"):
        if has[field] != getattr(wanted, field) and not (field == "language" and "/" in wanted.language):
            raise BadInput(
                f"start {word!r} has {field} {has[field]!r}, the recipe's model.{field} is {getattr(wanted, field)!r}: "
                f"set model.{field}={has[field]}"
            )
