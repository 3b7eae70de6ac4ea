"""A source on its way through a run: what was downloaded and inspected of it, and where that lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.running.runner import check_processes
from tinyllava_core.artifact import Artifact
from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.data.manifest.local_copies import check_names, missing, with_copies
from tinyllava_core.data.manifest.local_files import beside
from tinyllava_core.data.manifest.manifest import Manifest, load
from tinyllava_core.data.mix.choose import check_choose
from tinyllava_core.data.mix.contamination import vg_coco
from tinyllava_core.data.mix.filters import read_filters
from tinyllava_core.data.plan.ready import check_parts
from tinyllava_core.data.record.record import InspectedSource
from tinyllava_core.errors import BadInput
from tinyllava_core.estimate.quantized import check_quantized
from tinyllava_core.evaluate.score.benchmarks import benchmark
from tinyllava_core.evaluate.score.ready import faulty_benchmarks
from tinyllava_core.recipe import Recipe
from tinyllava_core.results import DownloadResult
from tinyllava_core.settings.mix import Choose

_WHOLE: set[tuple[tuple[str, ...], str]] = set()  # benchmarks and places that were read, and nothing was wrong
WORDS = {"source": "a source", "benchmark": "a benchmark", "images": "an image set"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One source of a run."""

    downloaded: Artifact
    inspected: Artifact
    images: ImagePlaces

    @property
    def name(self) -> str:
        """The manifest's name."""
        return self.downloaded.result(DownloadResult).source

    @property
    def place(self) -> InspectedSource:
        """Where its good records and its images are."""
        return InspectedSource(name=self.name, records=self.inspected.folder, images=self.images)


def source_images(source: str, downloaded: Artifact, sets: Mapping[str, Artifact]) -> ImagePlaces:
    """Tell where the images of a source are, by the recipe's word for it."""
    return image_places(load(source), downloaded, sets)


def image_places(manifest: Manifest, downloaded: Artifact, sets: Mapping[str, Artifact]) -> ImagePlaces:
    """Tell where the images of a source or benchmark are: its own, and those of its image sets."""
    result = downloaded.result(DownloadResult)
    assert manifest.annotations is not None
    assert result.annotations is not None, f"{manifest.name} is an image set, which has no places of its own"
    folder = beside(manifest.annotations, downloaded.folder / result.annotations)
    return manifest.places(image_root(downloaded), {name: image_root(sets[name]) for name in manifest.sets}, folder)


def image_root(downloaded: Artifact) -> Path:
    """Give the folder that the paths of a download's own images begin in."""
    return downloaded.folder / downloaded.result(DownloadResult).image_root  # an absolute path stays itself


def set_inputs(manifest: Manifest, sets: Mapping[str, Artifact]) -> dict[str, Artifact]:
    """Name the image sets of a source or benchmark as inputs of what looks at its images."""
    return {f"images {name}": sets[name] for name in manifest.sets}


def loss_limits(recipe: Recipe) -> dict[str, float]:
    """List a recipe's sources, each once, with the part of its records that it may lose: the strictest stage's."""
    limits: dict[str, float] = {}
    for training in map(recipe.training, recipe.stages()):
        for entry in training.mix:
            limits[entry.source] = min(training.max_lost_fraction, limits.get(entry.source, 1.0))
    return limits


def choices(recipe: Recipe) -> dict[str, Choose]:
    """List the sources of which a recipe brings a part alone, with what it asks for. Raises BadInput where two stages ask otherwise."""
    entries = [entry for stage in recipe.stages() for entry in recipe.training(stage).mix]
    asked: dict[str, Choose | None] = {}
    for entry in entries:
        if asked.setdefault(entry.source, entry.choose) != entry.choose:
            raise BadInput(
                f"source {entry.source!r}: its stages choose otherwise of it, and it is brought here once; write the same `choose` in "
                "each, and less of it as `cap` or `share`"
            )
    return {name: choose for name, choose in asked.items() if choose is not None}


def set_names(recipe: Recipe) -> list[str]:
    """List the image sets that a recipe's sources and benchmarks draw on, each once."""
    manifests = [load(name) for name in (*loss_limits(recipe), *recipe.all_benchmarks())]
    return list(dict.fromkeys(name for manifest in manifests for name in manifest.sets))


def check_recipe(recipe: Recipe, to_train: bool = True) -> None:
    """Look at all that a run will need, before anything is done. Raises BadInput: in one line, with what to do."""
    check_manifests(recipe)
    check_parts(recipe, to_train)
    check_benchmarks(recipe)
    if to_train and recipe.stages():
        check_processes(recipe.launch)


def check_benchmarks(recipe: Recipe) -> None:
    """Look whether the benchmarks that are on this disk can be scored. Raises BadInput on the first that cannot.

    A run asks this several times, and so does each variant of a study: what was found whole is not read again.
    """
    asked = (recipe.evaluate.benchmarks, recipe.data.model_dump_json())
    if asked not in _WHOLE:
        for fault in faulty_benchmarks(recipe):
            raise fault
        _WHOLE.add(asked)


def check_manifests(recipe: Recipe) -> None:
    """Look at every manifest and filter of a recipe, before anything is done. Raises BadInput on the first wrong one."""
    check_quantized(recipe)
    named = [("source", name) for name in loss_limits(recipe)]
    named += [("benchmark", name) for name in recipe.all_benchmarks()]
    named += dict.fromkeys(("images", name) for _, of in named for name in load(of).sets)
    check_names(recipe.data, [load(name) for _, name in named])
    lacking = missing([load(name) for _, name in named], recipe.data)
    for kind, name in named:
        manifest = load(name)
        found = manifest.kind
        if found != kind:
            raise BadInput(
                f"{name!r} is {WORDS[found]}, expected {WORDS[kind]}; known: data_manifests/*.yaml with kind: {kind}"
            )
        if manifest.scorer is not None:
            benchmark(manifest.scorer)
        try:
            with_copies(manifest, recipe.data)
        except BadInput as error:
            others = ", ".join(other for other in lacking if other != manifest.name)
            raise BadInput(f"{error}{f' A person must fetch these too: {others}.' if others else ''}") from None
    for name, asked in choices(recipe).items():
        check_choose(load(name), asked)
    for training in map(recipe.training, recipe.stages()):
        for entry in training.mix:
            read_filters(entry)
        vg_coco(training.contamination.vg_image_data)
