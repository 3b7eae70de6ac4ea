"""What a person's word for a checkpoint means: a folder, `latest`, a run's id, the first letters of an artifact. And what it is made of.

It loads no weights: model/checkpoint.py does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tinyllava_core.artifact import Artifact
from tinyllava_core.errors import BadInput, nearest, strange
from tinyllava_core.intact import finished, opened
from tinyllava_core.parts import LANGUAGES, VISIONS
from tinyllava_core.results import TRAININGS
from tinyllava_core.settings.tiling import tiling_of

LATEST = "latest"
CARD = "tinyllava.json"  # in a checkpoint of this package
EXPORT_CARD = "tinyllava_export.json"  # in a folder that this package exported: what its checkpoint's card said
MIN_LETTERS = 4  # of a fingerprint
KINDS = (*TRAININGS, "start")  # the stages whose artifacts hold a checkpoint
EXPECTED = "expected a checkpoint's folder, `latest`, the id of a run, or the first letters of either's fingerprint"


def find(workspace: Path, word: str) -> Artifact | Path:
    """Give what a word names: an artifact of this workspace, or the folder of a checkpoint from elsewhere.

    Raises BadInput, with what there is, if it names nothing or several things.
    """
    folder = Path(word).expanduser()
    if folder.is_dir():
        return _artifact_of(workspace, folder.resolve())
    if folder.is_absolute() or word.startswith((".", "~")):
        raise BadInput(f"checkpoint {word!r}: no such folder")
    made = sorted(_made(workspace), key=lambda artifact: artifact.manifest()["made_at"])
    if word == LATEST:
        trained = [artifact for artifact in made if artifact.stage != "start"]
        if not trained:
            raise BadInput(f"{workspace}: nothing was trained here yet; {EXPECTED}")
        return trained[-1]
    found = [one for one in made if len(word) >= MIN_LETTERS and one.fingerprint.startswith(word)]
    found = found or _of_run(workspace, word, made)
    if not found:
        raise BadInput(f"checkpoint {word!r}: there is none in {workspace}{_known(workspace, word, made)}; {EXPECTED}")
    if len(found) > 1:
        names = ", ".join(f"{one.stage}/{one.fingerprint}" for one in found)
        raise BadInput(f"checkpoint {word!r} can be {names}: give more letters")
    return found[0]


def folder_of(found: Artifact | Path) -> Path:
    """Give the folder with the weights."""
    return found.folder / "checkpoint" if isinstance(found, Artifact) else found


def model_section(folder: Path) -> dict[str, Any]:
    """Give the recipe's section `model` for a checkpoint of this package. Raises BadInput if it is not one."""
    card, config = card_of(folder), json.loads((folder / "config.json").read_text(encoding="utf-8"))
    connector, weights = config["connector"], card["vision"]["weights"]
    return {
        # An encoder of no row is read where it lay then; if it is gone, in the checkpoint, which has all of it.
        "vision": vision_of(card) or (weights if Path(weights).is_dir() else str(folder)),
        "connector": card["connector"],
        "connector_layers": connector["layers"],
        "connector_queries": connector["queries"],
        "connector_shrink": connector["shrink"],
        **({"connector_norm": True} if connector.get("norm") else {}),
        "language": card["language"] if card["language"] in LANGUAGES else str(folder),
        "vision_layer": "final" if config.get("final_norm") else config["vision_feature_layer"],
        "image_mode": card["image_mode"],
        **({"tiling": tiling_of(scheme)} if (scheme := card.get("scheme")) else {}),
        "pixels": card.get("pixels", "fast"),
    }


def vision_of(card: dict[str, Any]) -> str | None:
    """Find the row of the encoder that a checkpoint's card, or an export's, tells of, wherever its weights lay then."""
    told = (Path(card["vision"]["weights"]).name, tuple(card["vision"].get("mixture", ())))
    return next((key for key, row in VISIONS.items() if (Path(row.weights).name, row.mixture) == told), None)


def card_of(folder: Path) -> dict[str, Any]:
    """Read `tinyllava.json`. Raises BadInput if there is none."""
    path = folder / CARD
    if not path.is_file():
        raise BadInput(
            f"{folder}: not a checkpoint of this package (no tinyllava.json); "
            f"make it one with `tinyllava import {folder} --out FOLDER`"
        )
    with strange(path):
        read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        read["schema"]  # what is no card at all
    return read


def recipe_behind(workspace: Path, artifact: Artifact) -> dict[str, Any] | None:
    """Give the recipe of the newest run that has a training's artifact; None if no run tells of it."""
    import pyarrow.parquet as pq
    import yaml

    home, found = workspace / "lineage" / "fragments", []
    for path in (home / "stage").glob(f"*{quote(f' {artifact.stage} {artifact.stage}', safe=' ')}.parquet"):
        (row,) = pq.ParquetFile(path).read(columns=["run_id", "fingerprint", "started_at"]).to_pylist()
        if row["fingerprint"] == artifact.fingerprint:
            found.append((row["started_at"], row["run_id"]))
    if not found:
        return None
    (run,) = pq.ParquetFile(home / "run" / f"{quote(max(found)[1], safe=' ')}.parquet").read().to_pylist()
    read: dict[str, Any] = yaml.safe_load(run["recipe_yaml"])
    return read


def _artifact_of(workspace: Path, folder: Path) -> Artifact | Path:
    """Recognise an artifact of the workspace, and else find the checkpoint in a folder."""
    for place in (folder, folder.parent):
        inside = place.parent.name in KINDS and place.parents[1] == (workspace / "artifacts").resolve()
        if inside and (place / "result.json").is_file() and folder.name in (place.name, "checkpoint"):
            return Artifact(stage=place.parent.name, fingerprint=place.name, folder=place, made=False)
    if (of := _exported_from(workspace, folder)) is not None:
        return of
    places = (folder, folder / "checkpoint", folder / "hf")
    found = next((place for place in places if (place / "config.json").is_file()), None)
    if found is None:
        raise BadInput(f"{folder}: no checkpoint there (no config.json); {EXPECTED}")
    return found


def _exported_from(workspace: Path, folder: Path) -> Artifact | None:
    """Give the checkpoint that an export of the workspace was made of, if it is still there."""
    for place in (folder, folder.parent):
        if place.parent == (workspace / "artifacts" / "export").resolve() and (place / "result.json").is_file():
            of = opened(place / "result.json").get("inputs", {}).get("checkpoint")
            return next((one for one in _made(workspace) if one.fingerprint == of), None)
    return None


def _made(workspace: Path) -> list[Artifact]:
    return [
        Artifact(stage=kind, fingerprint=folder.name, folder=folder, made=False)
        for kind in KINDS
        for folder, _ in finished(workspace / "artifacts" / kind)
    ]


def _of_run(workspace: Path, word: str, made: list[Artifact]) -> list[Artifact]:
    """Give the last checkpoint that a run has: its id, or the first letters of it. Raises BadInput if several that differ begin so."""
    runs = {run: fragment for run, fragment in _trained_by(workspace) if run.startswith(word)}
    if not runs:
        return []
    import pyarrow.parquet as pq

    trained = {
        run: pq.ParquetFile(fragment).read(columns=["fingerprint"])[0][0].as_py() for run, fragment in runs.items()
    }
    meant = {trained[word]} if word in trained else set(trained.values())
    if len(meant) > 1:
        raise BadInput(f"run {word!r} can be {', '.join(sorted(runs))}: give more letters")
    return [one for one in made if one.fingerprint in meant]


def _trained_by(workspace: Path) -> list[tuple[str, Path]]:
    """Give each run that trained something, with the lineage row of its last training."""
    home = workspace / "lineage" / "fragments" / "stage"
    found: dict[str, Path] = {}
    for stage in TRAININGS:
        ending = quote(f" {stage} {stage}", safe=" ") + ".parquet"
        found |= {path.name.removesuffix(ending): path for path in home.glob(f"*{ending}")}
    return list(found.items())


def _known(workspace: Path, word: str, made: list[Artifact]) -> str:
    names = [run for run, _ in _trained_by(workspace)] + [one.fingerprint for one in made]
    return nearest(word, names) if names else " (nothing was trained here yet)"
