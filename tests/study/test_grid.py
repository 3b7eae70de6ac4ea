"""A study's runs: every variant with every seed, all looked at before the first; and the studies that are shipped."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tinyllava_core.errors import BadInput
from tinyllava_core.recipe import load as load_recipe
from tinyllava_core.study.grid import Study, known_studies, load, runs

VARY_DATA = {"data-and-recipes", "hallucination", "out-of-distribution", "toy-hallucination"}  # share brings its own


def study(**fields: object) -> Study:
    return Study.parse({"name": "mine", "recipe": "toy", **fields}, "test")


def test_every_variant_runs_once_with_every_seed_under_a_name_of_its_own() -> None:
    planned = runs(
        study(
            set={"sft.epochs": 2, "sft.lr": 0.1},
            variants=[{"name": "A %"}, {"name": "B", "recipe": "toy_share", "set": {"sft.lr": 0.2}}],
            seeds=[1, 2],
        ),
        {"evaluate.blind": False},
    )
    common = {"sft.epochs": 2, "evaluate.blind": False}
    assert [(run.variant, run.seed, run.recipe, run.overrides) for run in planned] == [
        ("A %", 1, "toy", {**common, "sft.lr": 0.1, "seed": 1, "name": "mine-a"}),
        ("A %", 2, "toy", {**common, "sft.lr": 0.1, "seed": 2, "name": "mine-a"}),
        ("B", 1, "toy_share", {**common, "sft.lr": 0.2, "seed": 1, "name": "mine-b"}),
        ("B", 2, "toy_share", {**common, "sft.lr": 0.2, "seed": 2, "name": "mine-b"}),
    ]


def test_variants_of_any_script_have_names_of_their_own() -> None:
    planned = runs(study(name="研究", variants=[{"name": "图"}, {"name": "表 1"}]), {})
    assert [run.overrides["name"] for run in planned] == ["研究-图", "研究-表-1"]


def test_a_grid_is_every_combination_the_last_key_fastest() -> None:
    planned = runs(study(grid={"model.connector": ["mlp", "linear"], "sft.epochs": [1, 2]}), {})
    assert [run.variant for run in planned] == [
        "connector mlp, epochs 1",
        "connector mlp, epochs 2",
        "connector linear, epochs 1",
        "connector linear, epochs 2",
    ]
    assert planned[3].overrides["model.connector"] == "linear"


def test_every_variant_runs_in_every_order_and_without_each_source_that_is_left_out() -> None:
    planned = runs(study(variants=[{"name": "a"}], leave_out=["toy-chat", "it's"], orders=[0, 3]), {})
    assert [(run.variant, run.order, run.overrides["sft.order"]) for run in planned] == [
        (name, order, order) for name in ("a", "a, without toy-chat", "a, without it's") for order in (0, 3)
    ]
    assert "sft.void" not in planned[0].overrides
    assert planned[2].overrides["sft.void"] == "SELECT record_id FROM records WHERE source = 'toy-chat'"
    assert planned[4].overrides["sft.void"] == "SELECT record_id FROM records WHERE source = 'it''s'"
    assert [run.variant for run in runs(study(orders=[0, 1]), {})] == ["all", "all"]  # orders alone vary enough
    assert "sft.order" not in runs(study(variants=[{"name": "a"}]), {})[0].overrides


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({}, "give either variants or a grid"),
        ({"variants": [{"name": "a"}], "grid": {"sft.lr": [1]}}, "give either variants or a grid"),
        ({"variants": [{"name": "a"}, {"name": "a"}]}, "two variants are called 'a'"),
        ({"variants": [{"name": "a"}], "seed": 3}, "unknown key 'seed'; nearest: 'seeds'"),
    ],
)
def test_a_study_that_says_too_little_or_too_much_is_refused(fields: dict, fault: str) -> None:
    with pytest.raises(BadInput, match=fault):
        study(**fields)


def test_a_variant_that_is_no_recipe_is_named_before_anything_runs() -> None:
    with pytest.raises(BadInput, match=r"study 'mine', variant 'b': override 'sft.lrr'.*nearest: 'sft.lr'"):
        runs(study(variants=[{"name": "a"}, {"name": "b", "set": {"sft.lrr": 1}}]), {})


def test_a_grid_without_a_run_or_with_more_than_anybody_runs_is_one_line_at_once() -> None:
    """A million variants were compared by name, each with each: that did not end."""
    with pytest.raises(BadInput, match=r"grid\.sft\.lr: has no value, so there would be no run"):
        study(grid={"sft.lr": [], "sft.epochs": [1]})
    many = {"sft.lr": list(range(1, 101)), "sft.epochs": list(range(1, 101)), "sft.global_batch": list(range(1, 101))}
    with pytest.raises(BadInput, match="its grid has 1,000,000 variants; 10,000 at most"):
        study(grid=many)
    assert len(study(grid={"sft.lr": list(range(100)), "sft.epochs": list(range(100))}).all_variants()) == 10_000


def test_studies_are_found_by_name_and_by_path(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(yaml.safe_dump({"name": "x", "recipe": "toy", "variants": [{"name": "a"}]}))
    assert load(str(tmp_path / "x.yaml")).name == "x"
    with pytest.raises(BadInput, match="unknown study 'toy-recipe'; nearest: 'toy-recipes'"):
        load("toy-recipe")


@pytest.mark.parametrize("name", known_studies())
def test_every_shipped_study_has_runs_that_differ_in_what_it_studies_alone(name: str) -> None:
    found = load(name)
    assert found.name == name
    assert found.description
    recipes = [load_recipe(run.recipe, run.overrides) for run in runs(found, {})]
    plain = [recipe.model_copy(update={"name": "", "description": ""}) for recipe in recipes]
    assert all(one != other for place, one in enumerate(plain) for other in plain[:place])
    assert all(recipe.evaluate == recipes[0].evaluate for recipe in recipes)
    if name not in VARY_DATA:
        assert all(recipe.sft.mix == recipes[0].sft.mix for recipe in recipes)


def test_the_shares_of_the_encoder_are_none_to_all_of_its_four_blocks() -> None:
    trained = [
        load_recipe(run.recipe, run.overrides).sft.vision.trainable_from_layer
        for run in runs(load("toy-vision-trained"), {})
    ]
    assert trained == [None, 3, 2, 1, 0]
