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


P, T = 428_225_600 + 9_507_840 + 2_779_683_840, 9_507_840 + 2_779_683_840  # all, and trained in sft


@pytest.mark.parametrize(
    ("stage", "weights", "gradients", "optimizer"),
    [(None, 4 * P, 4 * T, 8 * T), (1, 4 * P, 4 * T, T), (2, 4 * P, T / 2, T), (3, P / 2, T / 2, T)],
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
    encoder = 8 * 729 * 1152 * 34
    assert kept.activations == 8192 * 2560 * 32 * 34 + encoder
    assert again.activations == 8192 * 2560 * (32 * 4 + 34) + encoder


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
