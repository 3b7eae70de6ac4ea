"""What a run is called: as somebody named it, else after what it does; never as Prefect made it up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from prefect import tags
from prefect.utilities.names import generate_slug

from tasks.running import named


def called(monkeypatch: pytest.MonkeyPatch, name: str, **parameters: Any) -> str:
    monkeypatch.setattr(named, "flow_run", SimpleNamespace(name=name, parameters=parameters, tags=[]))
    return named.name_of_run()


def test_a_name_that_a_person_gave_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    assert called(monkeypatch, "first try", recipe="toy", overrides={}) == "first try"
    assert called(monkeypatch, "my-run", recipe="toy", overrides={}) == "my-run"


def test_what_prefect_makes_up_is_known_as_such() -> None:
    assert all(named.is_made_up(generate_slug(2)) for _ in range(300))


def test_else_it_is_the_recipe_what_is_set_on_it_and_a_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"recipe": "toy", "overrides": {"sft.lr": 5e-4, "sft.language.lr": 1e-4}}
    words = called(monkeypatch, "fair-snail", **given).split()
    assert words[:3] == ["toy", "sft.lr=0.0005", "sft.language.lr=0.0001"]
    assert called(monkeypatch, "brave-otter", **given).split() == words
    other = called(monkeypatch, "fair-snail", recipe="toy", overrides={"seed": 7}).split()
    assert other[:2] == ["toy", "seed=7"]
    lists = {"sft.mix": [{"source": "toy-chat"}], "seed": 7}  # only what fits into a name is in it
    assert called(monkeypatch, "fair-snail", recipe="mine/share.yaml", overrides=lists) == "share seed=7"
    assert len(words[-1]) == len(other[-1]) == 6
    assert words[-1] != other[-1]


def test_the_name_of_a_recipe_with_a_fault_is_no_second_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    assert called(monkeypatch, "fair-snail", recipe="toi", overrides=None) == "toi"


def test_a_study_and_an_evaluation_say_what_they_are_of(monkeypatch: pytest.MonkeyPatch) -> None:
    assert called(monkeypatch, "fair-snail", study="grids/mine.yaml", overrides={}) == "study mine"
    assert called(monkeypatch, "fair-snail", checkpoint="latest", benchmarks=[]) == "evaluate latest"


def test_a_road_says_from_what_and_on_what_not_all_that_is_laid_over_its_recipe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = {"start": "8a80f3689d67f779", "model": {}, "sft.lr": 1e-3, "sft.prompt": "short"}
    tune = {**told, "sft.mix": [{"source": "data/mine.yaml"}, {"source": "toy-chat"}]}
    recipe = str(named.ROADS / "tune.yaml")
    assert called(monkeypatch, "fair-snail", recipe=recipe, overrides=tune) == "tune 8a80f3689d67f779 on mine toy-chat"
    evaluate = {"start": "/models/theirs", "evaluate.benchmarks": ["pope", "mme", "mm-vet", "gqa"]}
    recipe = str(named.ROADS / "evaluate.yaml")
    assert called(monkeypatch, "fair-snail", recipe=recipe, overrides=evaluate) == "evaluate theirs on pope mme mm-vet"


def test_a_run_knows_the_study_that_it_is_of_by_the_tag_of_the_flow_around_it() -> None:
    assert named.study_of_run() is None
    with tags("study:toy-connectors", "mine"):
        assert named.study_of_run() == "toy-connectors"
    assert named.study_of_run() is None
