"""Find a source's files on this disk: in a workspace that downloaded it, or where its manifest says. It fetches nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.data.manifest.local_files import beside
from tinyllava_core.data.manifest.manifest import Manifest
from tinyllava_core.errors import BadInput
from tinyllava_core.intact import finished


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """Where a source lies, and the newest inspection of it, if there is one."""

    annotations: Path
    images: ImagePlaces
    inspected: Path | None


def locate(manifest: Manifest, workspace: Path, kind: Literal["source", "benchmark"] = "source") -> Located:
    """Find a source, or a benchmark. Raises BadInput if it, or an image set of it, is neither local nor downloaded in the workspace."""
    if manifest.kind != kind or manifest.annotations is None:
        what = "source, whose records can be shown" if kind == "source" else "benchmark, which asks about pictures"
        raise BadInput(f"{manifest.name!r} is of kind {manifest.kind}: expected a {what}")
    downloaded = newest(workspace, "download", manifest.name)
    if downloaded is not None:
        folder, told = downloaded
        annotations, own = folder / told["annotations"], folder / told["image_root"]
    else:
        if manifest.annotations.path is None or any(entry.own for entry in manifest.images):
            raise _not_here(manifest.name, workspace)
        annotations, own = manifest.local(manifest.annotations.path), workspace
    sets = {}
    for name in manifest.sets:
        found = newest(workspace, "download", name)
        if found is None:
            raise _not_here(name, workspace)
        sets[name] = found[0] / found[1]["image_root"]
    inspected = newest(workspace, "inspect", manifest.name)
    return Located(
        annotations=annotations,
        images=manifest.places(own, sets, beside(manifest.annotations, annotations)),
        inspected=inspected[0] if inspected else None,
    )


def newest(workspace: Path, stage: str, source: str) -> tuple[Path, dict[str, Any]] | None:
    """Find the newest finished artifact of a stage for a source -> folder, result; one that was changed is told and passed over."""
    made = finished(workspace / "artifacts" / stage)
    found = [
        (told["made_at"], folder, told["result"]) for folder, told in made if told["result"].get("source") == source
    ]
    newest = max(found, key=lambda one: one[:2], default=None)
    return (newest[1], newest[2]) if newest else None


def _not_here(name: str, workspace: Path) -> BadInput:
    return BadInput(
        f"{name!r} is not on this disk: no download of it in workspace {workspace}; run a recipe that uses it "
        "(`tinyllava run`), or give --workspace"
    )
