"""Memory by parts, counted by hand: what ZeRO cuts, what checkpointing saves, what a longer pack costs."""

from __future__ import annotations

import pytest

from tinyllava_core.estimate.memory import Memory, memory
from tinyllava_core.estimate.part_counts import part_counts
from tinyllava_core.estimate.shapes import shapes
from tinyllava_core.estimate.stage import estimate
from tinyllava_core.recipe import load


def found(stage: str = "sft", tokens: int = 8192, **overrides: object) -> Memory:
    recipe = load("base", overrides)  # type: ignore[arg-type]
    known = shapes(recipe.model)
    assert known is not None
    counts = part_counts(recipe.model, recipe.training(stage))
    return memory(known, counts, recipe.training(stage), recipe.launch, tokens, 8, 1000)


V = 428_225_600  # the encoder, frozen: in bf16, but where ZeRO shares it out
P, T = V + 9_507_840 + 2_779_683_840, 9_507_840 + 2_779_683_840  # all, and trained in sft


@pytest.mark.parametrize(
    ("stage", "weights", "gradients", "optimizer"),
    [(None, 4 * T + 2 * V, 4 * T, 8 * T), (1, 4 * P, 4 * T, T), (2, 4 * P, T / 2, T), (3, P / 2, T / 2, T)],
)
def test_zero_cuts_the_moments_then_the_gradients_then_the_weights(
    stage: int | None, weights: float, gradients: float, optimizer: float
) -> None:
    made = found(**{"launch.zero_stage": stage})
    assert (made.weights, made.gradients, made.optimizer) == (weights, gradients, optimizer)  # eight ranks


def test_offloading_takes_the_moments_off_the_gpu() -> None:
    assert found(**{"launch.offload": "optimizer"}).optimizer == 0
    everything = found(**{"launch.zero_stage": 3, "launch.offload": "all"})
    assert (everything.weights, everything.optimizer) == (0, 0)


def test_checkpointing_keeps_one_residual_a_block() -> None:
    kept, again = found(**{"sft.gradient_checkpointing": False}), found()
    block = 3 * 46_080 + 8 * 2560  # Phi-2: four matrices 2560 x 2560, and two 2560 x 10240: what goes in and out
    encoder = 8 * 729 * (3 * 20_128 + 8 * 1152)  # SigLIP: four 1152 x 1152, and two 1152 x 4304; one block at a time
    assert kept.activations == 8192 * block * 32 + encoder
    assert again.activations == 8192 * (2560 * 32 * 4 + block) + encoder


def test_each_engine_holds_its_share() -> None:
    """Eight ranks. Frozen weights are whole on each under fsdp; what waits in the CPU's memory is nowhere here."""
    alone = {"launch.zero_stage": None, "launch.launcher": "torchrun"}
    keep, reshard, away = (
        found(**alone | fields)
        for fields in (
            {"launch.fsdp": "keep"},
            {"launch.fsdp": "reshard"},
            {"launch.fsdp": "reshard", "launch.offload": "all"},
        )
    )
    assert (keep.weights, keep.gradients, keep.optimizer) == (2 * V + T / 2, 4 * T, T)
    assert keep.copies == 2 * T
    assert (reshard.weights, reshard.gradients, reshard.optimizer) == (keep.weights, T / 2, T)
    assert 0 < reshard.copies < keep.copies
    assert (away.weights, away.gradients, away.optimizer) == (2 * V, 0, 0)
    assert found(**alone).total > keep.total > reshard.total > away.total
    plain, one, two, three = (found(**{"launch.zero_stage": stage}) for stage in (None, 1, 2, 3))
    assert one.copies - plain.copies == T / 2  # DeepSpeed's own fp32 copy of a share of 1 / 8
    assert one.buckets == two.buckets == three.buckets == 2 * 4 * 500_000_000
    assert three.copies == T / 2 + 4e9
    assert found(**{"launch.offload": "optimizer"}).gradients == 0


def test_logits_stand_in_pieces() -> None:
    assert found().logits == 12 * 1000 * 51200
    assert found(**{"model.language": "gemma-2-2b"}).logits == 12 * 64 * 1024 * 1024


def test_the_papers_recipe_fits_where_it_was_trained() -> None:
    """Source: TinyLLaVA Factory, issue 67: four A100s of 40 GB."""
    recipe = load("base_factory")
    for stage in recipe.stages():
        made = estimate(recipe, stage).memory
        assert made is not None
        assert 5e9 < made.total < 40e9
