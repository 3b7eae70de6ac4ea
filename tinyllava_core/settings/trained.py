"""What a stage trains, said once: which blocks of a part, and whether what lies outside its blocks. It knows depths, not tensors."""

from __future__ import annotations

from dataclasses import dataclass

from tinyllava_core.errors import BadInput
from tinyllava_core.parts import VISIONS, language_row
from tinyllava_core.settings.model import Model
from tinyllava_core.settings.training import Training


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """Which of a part's blocks are trained, counted from 0. Of vision, none behind the hidden state that the connector reads."""

    first: int | None  # None: the part is frozen
    num_blocks: int  # of the part
    num_used: int  # of those, how many stand in front of what is read of the part

    @property
    def blocks(self) -> range:
        """Number the trained blocks."""
        return range(0) if self.first is None else range(self.first, max(self.first, self.num_used))

    @property
    def rest(self) -> bool:
        """Tell whether what lies outside the blocks (embeddings, norms, head) is trained too: only with the whole part.

        Source: `partially-tune` of the reference implementation and `unlock_vit` of ShareGPT4V train blocks alone.
        """
        return self.first == 0

    def holds(self, block: int | None) -> bool:
        """Tell whether a tensor of that block is trained. None: a tensor outside the blocks."""
        return self.rest if block is None else block in self.blocks


def trained(part: str, first: int | None, num_blocks: int, layer: int = -1) -> Trained:
    """Say what is trained of a part of `num_blocks` blocks, whose hidden state `layer` (negative, of vision) is read."""
    used = num_blocks + layer + 1 if part == "vision" else num_blocks
    return Trained(first=first, num_blocks=num_blocks, num_used=used)


def trained_parts(model: Model, training: Training) -> dict[str, Trained]:
    """Say it of the parts that have blocks, as a recipe names them."""
    depths = {"vision": VISIONS[model.vision].num_layers, "language": language_row(model.language).num_layers}
    return {
        part: trained(part, training.part(part).trainable_from_layer, depth, model.layer)
        for part, depth in depths.items()
    }


def enters_language(training: Training) -> bool:
    """Tell whether a gradient passes through all of the language model, because something in front of it is trained."""
    return training.vision.trainable_from_layer is not None or training.connector.trainable_from_layer is not None


def check_something_to_train(model: Model, training: Training, stage: str) -> None:
    """Raise BadInput if a part that the stage is to train has nothing that could be trained, by name."""
    for part, row in trained_parts(model, training).items():
        if row.first is not None and not row.blocks:
            raise BadInput(
                f"{stage}.{part}.trainable_from_layer = {row.first}: the last block that can be trained is {row.num_used - 1}, counted from 0"
            )
    if training.connector.trainable_from_layer is not None and model.shape.num_parameters == 0:
        raise BadInput(
            f"{stage}.connector.trainable_from_layer = 0: connector {model.connector!r} has no parameters; set it to null"
        )
