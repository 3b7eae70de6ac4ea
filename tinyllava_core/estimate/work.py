"""How many floating-point operations a stage needs, from counts alone: no weights, no torch. It measures nothing.

A matrix of N numbers costs 2 N operations a token forward, 2 N more to carry the gradient through it, and 2 N more for its own
gradient: 6 N where it is trained, 4 N where it is frozen behind something that is trained, 2 N where nothing before it is.
Attention costs 4 x layers x width x length squared forward, half of that where it is causal. Source: PaLM (arXiv 2204.02311),
appendix B. train/flops.py counts the same of the model itself, and a test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass

from tinyllava_core.estimate.shapes import Shapes
from tinyllava_core.settings.trained import enters_language, trained
from tinyllava_core.settings.training import Training


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Operations of a step's forward and backward, by what there is of each; and what recomputing adds."""

    per_token: float  # the language model's blocks, but for the last one's MLP
    per_square: float  # its attention, for the square of a record's length
    per_supervised: float  # that MLP, and the head
    per_image: float  # encoder and connector
    again_per_token: float  # with gradient checkpointing: forward once more
    again_per_square: float
    again_per_supervised: float
    again_per_image: float

    def needed(self, tokens: float, squares: float, supervised: float, images: float) -> float:
        """Add up what the model needs: the numerator of model FLOP utilisation."""
        return (
            self.per_token * tokens
            + self.per_square * squares
            + self.per_supervised * supervised
            + self.per_image * images
        )

    def done(self, tokens: float, squares: float, supervised: float, images: float) -> float:
        """Add up what is computed, recomputed activations included."""
        again = self.again_per_token * tokens + self.again_per_supervised * supervised
        again += self.again_per_square * squares + self.again_per_image * images
        return self.needed(tokens, squares, supervised, images) + again


def work(shapes: Shapes, training: Training) -> Work:
    """Count one stage, its parts frozen and opened as it says."""
    vision = trained("vision", training.vision.trainable_from_layer, shapes.used_blocks)
    language = trained("language", training.language.trainable_from_layer, shapes.language_layers)
    carried_into = enters_language(training)
    open_blocks = len(language.blocks)
    all_carry = shapes.language_layers if carried_into else open_blocks
    blocks = 2.0 * shapes.language_block * (shapes.language_layers + all_carry + open_blocks)
    mlp = 2.0 * shapes.last_mlp * (1 + (all_carry > 0) + (open_blocks > 0))
    scores = 2.0 * shapes.language_layers * shapes.attention_width  # causal: half of 4
    carried_share = all_carry / shapes.language_layers
    head = 2.0 * shapes.head * (2 + language.rest)
    encoder = shapes.used_blocks * shapes.vision_block
    looks = 4.0 * shapes.used_blocks * shapes.vision_width * shapes.patches**2
    vision_share = len(vision.blocks) / shapes.used_blocks
    connector_trained = training.connector.trainable_from_layer is not None
    connector = (
        2.0 * shapes.connector_a_token * (1 + carried_into + connector_trained)
    )  # its later layers carry in any case
    forward_image = 2.0 * shapes.patches * encoder + looks
    again_mlp = shapes.last_mlp * (all_carry > 0)
    again = 1.0 if training.gradient_checkpointing else 0.0
    return Work(
        per_token=blocks - mlp,
        per_square=scores * (1 + 2 * carried_share),
        per_supervised=head + mlp,
        per_image=forward_image * (1 + 2 * vision_share) + shapes.image_tokens * connector,
        again_per_token=again * 2.0 * (shapes.language_block * all_carry - again_mlp),
        again_per_supervised=again * 2.0 * again_mlp,
        again_per_square=again * scores * carried_share,
        again_per_image=again * forward_image * vision_share,
    )
