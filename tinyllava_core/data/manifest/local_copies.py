"""A person's own copies of published data, used in place of what a manifest would download. No manifest is edited."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

import yaml

from tinyllava_core.data.manifest.images import Images
from tinyllava_core.data.manifest.manifest import Manifest, known
from tinyllava_core.errors import BadInput, unknown
from tinyllava_core.paths import expanded
from tinyllava_core.settings.data import Data

# What an error says before the line of `as_own`.
A_PART_OF_IT = "a part of it, or a cleaned copy, is a source of its own: mix my.yaml with this in it: "


def with_copies(manifest: Manifest, data: Data) -> Manifest:
    """Put a person's own copy, where the recipe's section `data` has one, in the place of the manifest's downloads.

    Raises BadInput if the copy is not there, or there is none and a person has to fetch it.
    """
    copy = _copy(manifest, data)
    if copy is None:
        if manifest.manual:
            raise BadInput(
                f"{manifest.name!r} cannot be downloaded by a program: {manifest.manual.strip()} "
                f"Then say where it is: --set 'data.local={{{manifest.name}: PLACE}}'"
            )
        return manifest
    update: dict[str, object] = {"manual": None}
    if manifest.kind == "images":
        update["images"] = (Images(folder=str(copy)),)
    else:
        assert manifest.annotations is not None, "only image sets have none"
        only_here: dict[str, object] = {"url": None, "files": (), "unpack": False, "only": (), "path": str(copy)}
        hub = manifest.annotations.hub
        if hub is not None and copy.is_dir():  # laid out as the hub has it
            only_here |= {"path": None, "hub": hub.model_copy(update={"repo": str(copy)})}
        elif hub is not None:
            only_here["hub"] = None
        update["annotations"] = manifest.annotations.model_copy(update=only_here)
    return manifest.model_copy(update=update)


def as_own(manifest: Manifest, file: Path) -> str:
    """Write, on one line of YAML, the manifest that makes a file (of a benchmark: or a folder) of one's own such a source.

    With the pictures of this one, and its components: of another number of records each.
    """
    assert manifest.annotations is not None
    form = {"format": manifest.annotations.format} if manifest.annotations.format else {}
    scored = {
        key: value for key in ("kind", "scorer", "variant") if manifest.scorer and (value := getattr(manifest, key))
    }
    parts = [entry.model_dump(mode="json", exclude_defaults=True, exclude={"count"}) for entry in manifest.components]
    told = {
        **scored,
        "name": f"my-{manifest.name}",
        "licence": manifest.licence,
        "annotations": {"path": str(file), **form},
        "images": [entry.model_dump(mode="json", exclude_defaults=True) for entry in manifest.images],
        **({"components": parts} if parts else {}),
    }
    return yaml.safe_dump(told, default_flow_style=True, sort_keys=False, allow_unicode=True, width=1 << 20).strip()


def missing(manifests: Iterable[Manifest], data: Data) -> list[str]:
    """List the names of what a person has to fetch and has not named a copy of."""
    return [manifest.name for manifest in manifests if manifest.manual and _copy(manifest, data) is None]


def check_names(data: Data, used: Collection[Manifest]) -> None:
    """Raises BadInput if `data.local` names what no manifest is called, or `data.root` is no folder, or has nothing that is used."""
    names = {*known(), *(manifest.name for manifest in used)}
    for name in data.local:
        if name not in names:
            raise unknown("manifest in data.local", name, names)
    if data.root is None:
        return
    root, trees = expanded(data.root), [tree for manifest in used for tree in manifest.trees]
    if not root.is_dir():
        raise BadInput(f"data.root: no folder {data.root}; expected one that holds coco/, gqa/ and the like")
    if trees and not _has_any(root, trees):
        inner = (place for depth in ("*", "*/*") for place in sorted(root.glob(depth)) if _has_any(place, trees))
        meant = next((f"; did you mean {place}?" for place in inner), "")
        raise BadInput(f"data.root: {data.root} has nothing that this recipe reads, {trees[0]} or another{meant}")


def _has_any(root: Path, trees: Iterable[str]) -> bool:
    return any((root / tree).exists() for tree in trees)


def _copy(manifest: Manifest, data: Data) -> Path | None:
    named = next((name for name in manifest.names if name in data.local), None)
    if named is not None:
        path = expanded(data.local[named]).absolute()
        if not (path.is_dir() if manifest.kind == "images" else path.exists()):
            wanted = "folder" if manifest.kind == "images" else "file or folder"
            raise BadInput(f"data.local: {manifest.name}: no {wanted} {path}")
        return path
    places = [] if data.root is None else [expanded(data.root).absolute() / tree for tree in manifest.trees]
    return next((place for place in places if place.exists()), None)
