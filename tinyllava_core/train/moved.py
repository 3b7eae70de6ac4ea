"""Whether just the parts that a stage trains move: after a few steps, when an error costs little, and at the end, as a record."""

from __future__ import annotations

from tinyllava_core.model import trainable
from tinyllava_core.model.tinyllava import TinyLlava, part_of
from tinyllava_core.settings.training import PART_NAMES
from tinyllava_core.train.engines.engine import Engine
from tinyllava_core.train.engines.ranks import united
from tinyllava_core.train.planned import PlannedSteps

_SOON = 3  # updates


class Moved:
    """Remembers each tensor as it was when the stage began; all ranks ask together, each about what it holds."""

    def __init__(self, engine: Engine, model: TinyLlava, stage: str) -> None:
        self._engine, self._stage = engine, stage
        self._trained = {name: p.requires_grad for name, p in model.named_parameters()}
        self._before = trainable.digests(engine.pieces())

    def names(self) -> set[str]:
        """Name the tensors that moved, on any rank."""
        now = trainable.digests(self._engine.pieces())
        return united({name for name, digest in now.items() if digest != self._before[name]})

    def check(self) -> None:
        """Raise RuntimeError, by name, if of a part that is trained nothing moved, or of a frozen one anything."""
        moved = self.names()
        for part in PART_NAMES:
            mine = {name for name in self._trained if part_of(name) == part}
            wanted = {name for name in mine if self._trained[name]}
            if bool(wanted) != bool(moved & mine):
                raise RuntimeError(trainable.unmoved(self._stage, part, len(wanted), len(moved & mine)))


def check_after(planned: PlannedSteps, num_steps: int) -> int:
    """Give the step after which every trained part must have moved: soon, but not before one that learns from a picture, if any does."""
    learned = (planned.first_learned(with_pictures=True), planned.first_learned(with_pictures=False), 0)
    seen = next(step for step in learned if step is not None)
    return min(max(_SOON - 1, seen), num_steps - 1)
