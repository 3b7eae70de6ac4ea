"""The estimate of a GPU's memory beside what the product's own step holds, traced on fake tensors at real sizes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from estimate.traced import fake_ranks, trace

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


@pytest.mark.parametrize("how", ["keep", "reshard"])
def test_a_rank_of_eight_holds_what_its_share_is_estimated_at(how: str) -> None:
    """TinyLlama's sft under fsdp: shares, what is gathered, whole gradients or a block's; among ranks that answer at once."""
    fields = {"model.language": "tinyllama-1.1b", "launch.launcher": "torchrun", "launch.processes": 8}
    recipe = load("base", fields | {"launch.zero_stage": None, "launch.fsdp": how})
    counts = part_counts(recipe.model, recipe.sft)
    made = memory(
        shapes(recipe.model), counts, recipe.sft, recipe.launch, RECORDS * LENGTH, RECORDS, RECORDS * SUPERVISED
    )
    with fake_ranks(recipe):
        found = trace(recipe, "sft", RECORDS, LENGTH, RECORDS * SUPERVISED)
    assert made.weights == pytest.approx(found.begun, rel=8e-3)
    assert made.total - made.optimizer - made.always == pytest.approx(found.peak, rel=0.15)


@pytest.mark.parametrize("ranks", [2, 8])
def test_what_zero_shares_out_is_what_deepspeed_itself_reckons(ranks: int) -> None:
    """Of a model that is trained whole, weights, gradients and optimizer: DeepSpeed's reckoning is of bf16 weights, ours are fp32."""
    from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs as third
    from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs as second

    fields = {"sft.vision.trainable_from_layer": 0, "launch.launcher": "deepspeed", "launch.processes": ranks}
    found, total = list[float](), 0
    for stage in (2, 3):
        recipe = load("base", fields | {"launch.zero_stage": stage})
        counts = [replace(count, num_trained=count.num_parameters) for count in part_counts(recipe.model, recipe.sft)]
        total = sum(count.num_parameters for count in counts)
        made = memory(shapes(recipe.model), counts, recipe.sft, recipe.launch, 0, 0, 0)
        # without the weights that are gathered or cast for a while
        own = 4 * total / ranks
        found.append(made.weights + own + made.gradients + made.optimizer)
    _, theirs = second(total, num_gpus_per_node=ranks, num_nodes=1, cpu_offload=False)
    # weights of 4 bytes where theirs have 2, and no second gradient of 2 beside that of 4
    assert found[0] == pytest.approx(theirs + 2 * total - 2 * total / ranks, rel=1e-6)
    _, theirs, _ = third(total, 0, num_gpus_per_node=ranks, num_nodes=1, cpu_offload=False, cpu_offload_params=False)
    assert found[1] == pytest.approx(theirs + 2 * total / ranks, rel=1e-6)
