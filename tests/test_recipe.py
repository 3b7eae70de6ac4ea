"""A recipe: two stages or three, one recipe laid over another, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tinyllava_core.data.manifest.manifest import load as manifest
from tinyllava_core.errors import BadInput, unknown
from tinyllava_core.recipe import STAGES, known_recipes, load, read_overrides
from tinyllava_core.results import TRAININGS
from tinyllava_core.settings.evaluate import SUITES


def write(folder: Path, stem: str, /, **keys: object) -> str:
    path = folder / f"{stem}.yaml"
    path.write_text(yaml.safe_dump(keys))
    return str(path)


def test_a_recipe_has_two_stages_or_three_in_the_order_they_train() -> None:
    assert load("toy").stages() == ("pretrain", "sft")
    assert load("toy_share").stages() == ("pretrain", "second_pretrain", "sft")


def test_the_stages_are_the_words_of_the_lineage() -> None:
    assert STAGES == TRAININGS


def test_asking_for_a_stage_that_is_not_there_says_which_are() -> None:
    with pytest.raises(BadInput, match="recipe 'toy' has no stage 'second_pretrain'; it has pretrain, sft"):
        load("toy").training("second_pretrain")


def test_a_suite_stands_for_its_benchmarks_each_once() -> None:
    nine = load("toy", {"evaluate.benchmarks": ["toy-pope", "suite-nanovlm", "mmstar"]}).evaluate.benchmarks
    assert nine[:2] == ("toy-pope", "mmstar")
    assert len(nine) == len(set(nine)) == 10
    with pytest.raises(BadInput, match="unknown suite of benchmarks 'suite-doc'; nearest: 'suite-docs'"):
        load("toy", {"evaluate.benchmarks": ["suite-doc"]})


@pytest.mark.parametrize("suite", SUITES)
def test_every_benchmark_of_a_suite_has_a_manifest(suite: str) -> None:
    assert {manifest(name).kind for name in SUITES[suite]} == {"benchmark"}


def test_every_shipped_recipe_loads_and_says_what_it_is() -> None:
    for name in known_recipes():
        recipe = load(name)
        assert recipe.name == name
        assert recipe.description


def test_a_recipe_that_extends_another_is_that_one_with_its_own_keys_over_it(tmp_path: Path) -> None:
    """Sections are laid over each other key by key; a list is replaced whole; null takes a section away."""
    path = write(
        tmp_path,
        "mine",
        extends="toy_share",
        name="mine",
        second_pretrain=None,
        sft={"lr": 0.5, "mix": [{"source": "toy-chat"}], "language": {"lr": 0.25}},
    )
    mine, toy = load(path), load("toy")
    assert mine.stages() == ("pretrain", "sft")
    assert mine.pretrain == toy.pretrain
    assert (mine.sft.lr, mine.sft.language.lr, mine.sft.language.trainable_from_layer) == (0.5, 0.25, 0)
    assert [entry.source for entry in mine.sft.mix] == ["toy-chat"]
    assert mine.sft.global_batch == toy.sft.global_batch


def test_a_path_that_is_extended_is_looked_for_beside_the_file_that_names_it(tmp_path: Path) -> None:
    write(tmp_path, "below", extends="toy", seed=7)
    assert load(write(tmp_path, "above", extends="below.yaml", name="above")).seed == 7


def test_overrides_come_last(tmp_path: Path) -> None:
    path = write(tmp_path, "mine", extends="toy", seed=7)
    assert load(path, {"seed": 8}).seed == 8


def test_recipes_that_extend_each_other_in_a_circle_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "a", extends="b.yaml")
    with pytest.raises(BadInput, match=r"in a circle: b -> a -> b"):
        load(write(tmp_path, "b", extends="a.yaml"))


def test_an_unknown_field_is_told_with_those_that_stand_beside_it():
    with pytest.raises(
        BadInput, match=r"'sft.language.nope': the recipe has no such field.* Fields of sft.language: [a-z_, ]+$"
    ):
        load("toy", {"sft.language.nope": 1})
    with pytest.raises(
        BadInput, match=r"'modle': the recipe has no such field; nearest: 'model'. Its fields: .*pretrain, .*sft"
    ):
        load("toy", {"modle": 1})
    with pytest.raises(BadInput, match=r"'sft.mix.².source': the recipe has no such field"):
        load("toy", {"sft.mix.².source": "x"})


def test_of_very_many_known_names_those_that_are_near_are_told():
    names = [f"benchmark-{n:02d}" for n in range(50)]
    assert str(unknown("benchmark", "benchmark-071", names)).endswith(" others")
    told = str(unknown("benchmark", "benchmark-071", names)).partition("Known: ")[2]
    assert told.startswith("benchmark-07, ")
    assert len(told.split(", ")) == 9
    assert str(unknown("benchmark", "nothing like it", names)).count(",") == 49


def test_an_unknown_recipe_that_is_extended_is_told_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="unknown recipe 'toi'; nearest: 'toy'"):
        load(write(tmp_path, "mine", extends="toi"))
    with pytest.raises(BadInput, match="expected the name of a recipe"):
        load(write(tmp_path, "other", extends=["toy"]))


def test_one_word_changes_one_part() -> None:
    changed = load("base", {"model.vision": "clip-vit-large-patch14-336"})
    assert changed.model.vision == "clip-vit-large-patch14-336"
    assert changed.model_copy(update={"model": load("base").model}) == load("base")


def test_a_field_of_a_section_that_is_off_brings_the_section_in() -> None:
    """toy has no second pretrain: one field of it is not a whole stage, and the fault says what is missing."""
    with pytest.raises(BadInput, match=r"second_pretrain\.mix' is missing"):
        load("toy", {"second_pretrain.lr": 1e-3})
    whole = load("toy", {"second_pretrain": load("toy").pretrain.model_dump()})
    assert whole.training("second_pretrain") == whole.pretrain


def test_a_rate_of_its_own_leaves_the_connector_trained() -> None:
    connector = load("toy", {"sft.connector.lr": 1e-5}).sft.connector
    assert (connector.trainable_from_layer, connector.lr) == (0, 1e-5)


def test_a_recipe_may_have_one_stage_or_begin_with_a_checkpoint_and_have_none() -> None:
    assert load("toy", {"pretrain": None}).stages() == ("sft",)
    assert load("toy", {"sft": None}).stages() == ("pretrain",)
    assert load("toy", {"pretrain": None, "sft": None, "start": "latest"}).stages() == ()
    with pytest.raises(BadInput, match="nothing to do: no training stage, and no checkpoint to `start` from"):
        load("toy", {"pretrain": None, "sft": None})


def test_kept_features_are_of_the_published_encoder_so_not_behind_a_start() -> None:
    with pytest.raises(BadInput, match="only a pretrain without `start`"):
        load("toy", {"start": "latest", "pretrain.keep_features": True})


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("sft.lr=.inf", r"sft\.lr = inf: expected a finite number"),
        ("sft.mix=[{source: toy-chat, share: .inf}]", "less than or equal to 1000"),
        ("sft.mix=[{source: toy-chat, share: 1.0e+300}]", "less than or equal to 1000"),
        ('sft.weight_decay="' + "9" * 5000 + '"', "expected a finite number"),
    ],
)
def test_a_number_without_end_is_none(words: str, fault: str) -> None:
    with pytest.raises(BadInput, match=fault):
        load("toy", read_overrides([words]))


def test_a_name_that_no_folder_can_have_is_an_unknown_recipe(tmp_path: Path) -> None:
    for name in ("a" * 300, "a\0b"):
        with pytest.raises(BadInput, match="unknown recipe"):
            load(name)
