"""Find a stage's plan in a workspace, and tell whether its data is on this machine. It makes nothing.

A plan is found by what it was made for: the same choices of the recipe, on a mix of the same sources and shares.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tinyllava_core.artifact import canonical
from tinyllava_core.data.manifest.local_copies import missing, with_copies
from tinyllava_core.data.manifest.manifest import load
from tinyllava_core.data.mix.spec import mix_spec
from tinyllava_core.data.plan.plan import spec_choices
from tinyllava_core.intact import finished, opened
from tinyllava_core.recipe import Recipe


def find_plan(workspace: Path, recipe: Recipe, stage: str) -> Path | None:
    """Give the folder of the newest plan that was made for this stage of this recipe; None if there is none."""
    wanted = canonical(spec_choices(recipe, stage))
    mix = canonical(mix_spec(recipe, stage))
    found: list[tuple[str, Path]] = []
    for folder, told in finished(workspace / "artifacts" / "plan"):
        spec = told["spec"]
        if {key: value for key, value in spec.items() if key in wanted} != wanted:
            continue
        if spec.get("order", 0) != wanted.get("order", 0) or any(
            spec.get(name) is not None for name in ("void_sha256", "sorted_sha256")
        ):
            continue
        if _spec(workspace, "mix", _inputs(workspace, "shard", told["inputs"].get("shard", "")).get("mix", "")) == mix:
            found.append((told["made_at"], folder))
    return max(found)[1] if found else None


def is_here(recipe: Recipe) -> bool:
    """Tell whether all data of the recipe's stages is on this machine, own copies included, or made on it (the toy world)."""
    sources = [load(entry.source) for stage in recipe.stages() for entry in recipe.training(stage).mix]
    sources += [load(name) for stage in recipe.stages() for name in recipe.compared(stage)]
    used = [*sources, *(load(name) for manifest in sources for name in manifest.sets)]
    if missing(used, recipe.data):
        return False
    places = [place for manifest in used for place in with_copies(manifest, recipe.data).urls()]
    return all("://" not in place or place.startswith(("toyworld://", "file://")) for place in places)


def _told(workspace: Path, stage: str, fingerprint: str) -> dict[str, Any]:
    file = workspace / "artifacts" / stage / fingerprint / "result.json"
    return opened(file) if file.is_file() else {}


def _inputs(workspace: Path, stage: str, fingerprint: str) -> dict[str, str]:
    return dict(_told(workspace, stage, fingerprint).get("inputs", {}))


def _spec(workspace: Path, stage: str, fingerprint: str) -> Any:
    return _told(workspace, stage, fingerprint).get("spec")
