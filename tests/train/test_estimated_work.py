"""What is estimated from counts alone is what the model itself costs, matrix by matrix."""

from __future__ import annotations

from dataclasses import fields

import pytest

from tinyllava_core.estimate.shapes import shapes
from tinyllava_core.estimate.work import work
from tinyllava_core.model import trainable
from tinyllava_core.model.assemble import assemble
from tinyllava_core.recipe import load
from tinyllava_core.train import flops


@pytest.mark.parametrize(
    "opened",
    [
        {},
        {"language": {"trainable_from_layer": 0}},
        {"language": {"trainable_from_layer": 0}, "vision": {"trainable_from_layer": 1}},
    ],
)
def test_the_estimate_is_the_models_own_count(opened: dict[str, object]) -> None:
    recipe = load("toy", {f"sft.{part}": value for part, value in ({"language": {}} | opened).items()})
    model = assemble(recipe.model, 0)
    trainable.choose(model, recipe.sft)
    ours, theirs = work(shapes(recipe.model), recipe.sft), flops.cost(model)  # type: ignore[arg-type]
    for field in fields(theirs):
        # a block's parameters count norms and biases, which are no matrices: under 2 % of toy's
        assert getattr(ours, field.name) == pytest.approx(getattr(theirs, field.name), rel=0.02), field.name
