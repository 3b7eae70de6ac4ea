"""The estimate of a GPU's memory beside what the product's own step holds, traced on fake tensors at real sizes."""

from __future__ import annotations

import pytest
from estimate.traced import trace

from tinyllava_core.estimate.memory import memory
from tinyllava_core.estimate.part_counts import part_counts
from tinyllava_core.estimate.shapes import shapes
from tinyllava_core.recipe import load

RECORDS, LENGTH, SUPERVISED = 2, 1000, 300  # of a pack: with an image each


@pytest.mark.parametrize(
    ("stage", "again"), [("sft", False), ("sft", True), ("pretrain", False)], ids=["kept", "made again", "frozen"]
)
def test_weights_gradients_and_activations_are_what_a_step_holds(stage: str, again: bool) -> None:
    """TinyLlama with SigLIP-384, both stages of the paper's: all but the optimizer, whose moments are counted by hand elsewhere."""
    fields = {"model.language": "tinyllama-1.1b", f"{stage}.gradient_checkpointing": again}
    alone = {"launch.launcher": "plain", "launch.processes": 1, "launch.zero_stage": None}
    recipe = load("base", fields | alone)
    training = recipe.training(stage)
    counts = part_counts(recipe.model, training)
    made = memory(
        shapes(recipe.model), counts, training, recipe.launch, RECORDS * LENGTH, RECORDS, RECORDS * SUPERVISED
    )
    found = trace(recipe, stage, RECORDS, LENGTH, RECORDS * SUPERVISED)
    # frozen positions, norms and the encoder's unread head stay fp32: a third of a percent, which is not counted
    assert made.weights == pytest.approx(found.begun, rel=4e-3)
    assert made.total - made.optimizer - made.always == pytest.approx(found.peak, rel=0.15)
