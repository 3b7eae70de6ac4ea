"""A source on its way through a run: what was downloaded and inspected of it, and where that lies."""

from __future__ import annotations

from dataclasses import dataclass

from tinyllava_core.artifact import Artifact
from tinyllava_core.data.manifest import load
from tinyllava_core.data.record import InspectedSource
from tinyllava_core.errors import BadInput
from tinyllava_core.recipe import Recipe
from tinyllava_core.results import DownloadResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One source of a run."""

    downloaded: Artifact
    inspected: Artifact

    @property
    def name(self) -> str:
        """The manifest's name."""
        return self.downloaded.result(DownloadResult).source

    @property
    def place(self) -> InspectedSource:
        """Where its good records and its images are."""
        result = self.downloaded.result(DownloadResult)
        root = self.downloaded.folder / result.image_root  # an absolute path stays itself
        return InspectedSource(name=result.source, records=self.inspected.folder, image_root=root)


def loss_limits(recipe: Recipe) -> dict[str, float]:
    """List a recipe's sources, each once, with the part of its records that it may lose: the strictest stage's."""
    limits: dict[str, float] = {}
    for training in map(recipe.training, recipe.stages()):
        for entry in training.mix:
            limits[entry.source] = min(training.max_lost_fraction, limits.get(entry.source, 1.0))
    return limits


def check_manifests(recipe: Recipe) -> None:
    """Look at every manifest that a recipe names, before anything is done. Raises BadInput on the first wrong one."""
    for kind, names in (("source", list(loss_limits(recipe))), ("benchmark", list(recipe.evaluate.benchmarks))):
        for name in names:
            found = load(name).kind
            if found != kind:
                raise BadInput(
                    f"{name!r} is a {found}, expected a {kind}; known: data_manifests/*.yaml with kind: {kind}"
                )
