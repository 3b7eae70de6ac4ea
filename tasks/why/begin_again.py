"""A run about a training that is there already: by the recipe that made it. It knows nothing of stages."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tasks.run import Run, begin
from tinyllava_core.artifact import Artifact
from tinyllava_core.paths import expanded
from tinyllava_core.why.found import recipe_of, trained


@contextlib.contextmanager
def begin_again(checkpoint: str, workspace: str) -> Iterator[tuple[Run, Artifact]]:
    """Begin a run with the recipe behind a checkpoint; give both. Raises BadInput if no training of the workspace made it."""
    place = expanded(workspace).resolve()
    training = trained(place, checkpoint)
    with begin(recipe_of(place, training), None, workspace) as run:
        yield run, training
