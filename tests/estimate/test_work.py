"""Operations, counted by hand, beside the count of the model itself, and beside what others' trainings took."""

from __future__ import annotations

import pytest

from tinyllava_core.estimate.gpus import GPUS
from tinyllava_core.estimate.shapes import Shapes, shapes
from tinyllava_core.estimate.stage import estimate
from tinyllava_core.estimate.work import work
from tinyllava_core.recipe import load
from tinyllava_core.settings.training import Training

SMALL = Shapes(
    language_layers=2,
    language_width=10,
    language_block=1000,
    language_numbers=0.0,
    last_mlp=600,
    attention_width=10,
    vocabulary=50,
    head=500,
    used_blocks=4,
    vision_width=6,
    vision_block=300,
    vision_numbers=0.0,
    patches=9,
    connector=70,
    connector_a_token=70,
    image_tokens=9,
)


def training(**parts: object) -> Training:
    return Training.parse({"mix": [{"source": "x"}], "global_batch": 4, "lr": 1.0, **parts}, "test")


def test_behind_a_trained_connector_a_frozen_language_model_costs_four_a_number() -> None:
    found = work(SMALL, training())
    assert found.per_token == 4 * (2 * 1000 - 600)  # of the last block, the MLP runs at supervised places alone
    assert found.per_supervised == 4 * (600 + 500)
    # 2 x 2 x layers x width forward, causal: half; and twice that backward
    assert found.per_square == 3 * (4 * 2 * 10 / 2)
    # encoder forward alone, its attention, and a trained connector
    assert found.per_image == 2 * 9 * 4 * 300 + 4 * 4 * 6 * 9**2 + 9 * 6 * 70
    assert found.again_per_token == 0


def test_a_trained_language_model_costs_six_and_recomputing_two_more() -> None:
    found = work(SMALL, training(language={"trainable_from_layer": 0}, gradient_checkpointing=True))
    assert found.per_token == 6 * (2 * 1000 - 600)
    assert found.per_supervised == 6 * (600 + 500)
    assert found.again_per_token == 2 * (2 * 1000 - 600)
    assert found.done(10, 0, 3, 0) == 8 * (2 * 1000 - 600) * 10 + 8 * 600 * 3 + 6 * 500 * 3
    assert found.needed(10, 0, 3, 0) == 6 * (2 * 1000 - 600) * 10 + 6 * 1100 * 3


def test_alone_open_upper_blocks_leave_the_lower_ones_at_two() -> None:
    found = work(SMALL, training(connector={"trainable_from_layer": None}, language={"trainable_from_layer": 1}))
    assert found.per_token == 2 * 1000 + 6 * (1000 - 600)
    assert found.per_image == 2 * 9 * 4 * 300 + 4 * 4 * 6 * 9**2 + 9 * 2 * 70


def test_an_encoder_that_is_open_from_its_third_block_costs_six_from_there() -> None:
    found = work(SMALL, training(vision={"trainable_from_layer": 2}))
    forward = 2 * 9 * 4 * 300 + 4 * 4 * 6 * 9**2
    assert found.per_image == forward * 2 + 9 * 6 * 70  # half of the blocks cost thrice


# Source: TinyLLaVA Factory, issue 67: hours of four A100-40G for pretrain and sft together, times four.
@pytest.mark.parametrize(
    ("language", "vision", "hours"),
    [
        ("phi-2", "siglip-so400m-patch14-384", 76),
        ("phi-2", "clip-vit-large-patch14-336", 68),
        ("stablelm-2-1.6b", "siglip-so400m-patch14-384", 40),
        ("tinyllama-1.1b", "siglip-so400m-patch14-384", 36),
    ],
)
def test_the_estimate_is_within_a_factor_of_two_of_what_others_took(language: str, vision: str, hours: float) -> None:
    recipe = load("base", {"model.language": language, "model.vision": vision})
    found = [estimate(recipe, stage).gpu_hours(GPUS["A100-40G"].peak, 0.4) for stage in recipe.stages()]
    assert hours / 2 < sum(found) < hours * 2


def test_the_shapes_of_the_paper_s_model_are_those_of_its_configurations() -> None:
    found = shapes(load("base").model)
    assert found is not None
    assert (found.language_layers, found.language_width, found.vocabulary) == (32, 2560, 51200)
    assert (found.used_blocks, found.patches, found.image_tokens) == (26, 729, 729)
    assert found.language_block == 4 * (2560 * 2560 + 2560) + 2560 * 10240 * 2 + 10240 + 2560 + 2 * 2560
    assert found.connector == 1152 * 2560 + 2560 + 2560 * 2560 + 2560
