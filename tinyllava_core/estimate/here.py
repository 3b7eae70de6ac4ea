"""What a recipe needs of this machine and whether it is here, asked before anything is downloaded. It makes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from tinyllava_core.artifact import check_workspace
from tinyllava_core.data.files.packed import is_packed
from tinyllava_core.data.manifest.local_copies import A_PART_OF_IT, as_own, check_names, missing, with_copies
from tinyllava_core.data.manifest.manifest import Manifest, load
from tinyllava_core.data.record.json_split import item_places
from tinyllava_core.errors import BadInput
from tinyllava_core.estimate.gpus import has_gpu
from tinyllava_core.recipe import Recipe
from tinyllava_core.room import in_words, there
from tinyllava_core.show import Row

SIDE_BY_SIDE = 3  # an archive, what is unpacked of it, and the tars of a mix; the first may go once a run is over


def manifests_of(recipe: Recipe) -> list[Manifest]:
    """List the manifests that a run of the recipe downloads: sources, benchmarks, and the image sets they draw on."""
    sources = [entry.source for stage in recipe.stages() for entry in recipe.training(stage).mix]
    used = [load(name) for name in dict.fromkeys((*sources, *recipe.all_benchmarks()))]
    return [*used, *(load(name) for name in dict.fromkeys(name for one in used for name in one.sets))]


def lacks(recipe: Recipe, workspace: Path) -> Iterator[Row]:
    """List what would end a run of the recipe here, or end it late: (what, found, what to do)."""
    try:
        check_workspace(workspace)
    except BadInput as error:
        yield "workspace", "cannot be used", str(error)
    try:
        check_names(recipe.data, manifests_of(recipe))
    except BadInput as error:
        yield "data.root" if recipe.data.root else "data.local", "not as named", str(error)
    yield from _other_counts(recipe)
    if recipe.launch.device == "cuda" and recipe.launch.nodes == 1 and not has_gpu():
        yield "GPU", "none here", "launch.device is cuda: run it on another machine, or set launch.device=auto"
    if by_hand := missing(manifests_of(recipe), recipe.data):
        advice = "each manifest says from where (manual); then data.local={NAME: PLACE}, or a tree as data.root"
        yield "by hand", ", ".join(dict.fromkeys(by_hand)), f"a person must fetch these: {advice}"
    needed, free = SIDE_BY_SIDE * to_download(recipe), shutil.disk_usage(there(workspace.expanduser().absolute())).free
    if needed > free:
        yield (
            "disk",
            f"{in_words(free)} free",
            f"about {in_words(needed)} needed; another --workspace, or `tinyllava gc`",
        )


def _other_counts(recipe: Recipe) -> Iterator[Row]:
    """Count the records of each source whose file is on this disk, where its manifest says how many they are."""
    for manifest in manifests_of(recipe):
        wanted = manifest.annotations
        if manifest.kind != "source" or wanted is None or wanted.count is None or missing([manifest], recipe.data):
            continue
        own = with_copies(manifest, recipe.data).annotations
        if own is None or own.path is None or not (file := manifest.local(own.path)).is_file() or is_packed(file):
            continue
        if (found := len(item_places(file))) != wanted.count:
            advice = f"{file}: {A_PART_OF_IT}{as_own(manifest, file)}"
            yield f"source {manifest.name}", f"{found:,} records, its manifest expects {wanted.count:,}", advice


def to_download(recipe: Recipe) -> float:
    """Add up the bytes that a run downloads: stated, or about; what nobody states counts nothing, own copies neither.

    Of a source that rows are chosen of, their part of its records.
    """
    size, entries = 0.0, [entry for stage in recipe.stages() for entry in recipe.training(stage).mix]
    chosen = {load(entry.source).name: entry.choose.records for entry in entries if entry.choose}
    for manifest in manifests_of(recipe):
        if manifest.manual or with_copies(manifest, recipe.data) is not manifest:
            continue
        wanted, there_are = chosen.get(manifest.name), manifest.about_records
        part = min(1.0, wanted / there_are) if wanted and there_are else 1.0
        size += (manifest.size_bytes() or (manifest.about_gb or 0) * 1e9) * part
    return size
