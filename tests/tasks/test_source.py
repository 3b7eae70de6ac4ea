"""The sources of a recipe: each once, under the strictest limit, and looked at before anything starts."""

from __future__ import annotations

import pytest
import yaml

from tasks.running import runner
from tasks.source import check_manifests, check_recipe, loss_limits
from tinyllava_core.errors import BadInput
from tinyllava_core.recipe import load

SHARED = {
    "pretrain.mix": [{"source": "toy-captions"}, {"source": "toy-chat"}],
    "pretrain.max_lost_fraction": 0.2,
    "sft.mix": [{"source": "toy-chat"}],
    "sft.max_lost_fraction": 0.01,
}


def test_a_source_of_both_stages_is_there_once_under_the_stricter_limit() -> None:
    assert loss_limits(load("toy", SHARED)) == {"toy-captions": 0.2, "toy-chat": 0.01}


def test_the_toy_recipes_manifests_are_all_there() -> None:
    check_manifests(load("toy"))


def test_an_unknown_source_is_found_before_anything_starts() -> None:
    with pytest.raises(BadInput, match="unknown source, image set or benchmark 'toy-chta'; nearest: 'toy-chat'"):
        check_manifests(load("toy", {"sft.mix": [{"source": "toy-chta"}]}))


def test_a_benchmark_is_no_source_and_a_source_no_benchmark() -> None:
    with pytest.raises(BadInput, match="'toy-pope' is a benchmark, expected a source"):
        check_manifests(load("toy", {"sft.mix": [{"source": "toy-pope"}]}))
    with pytest.raises(BadInput, match="'toy-chat' is a source, expected a benchmark"):
        check_manifests(load("toy", {"evaluate.benchmarks": ["toy-chat"]}))


def test_a_training_of_more_processes_than_a_machine_without_a_gpu_has_cores_says_how_to_try_it_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runner, "has_gpu", lambda: False)
    monkeypatch.setattr(runner, "num_cpus", lambda: 4)
    many = {"launch.launcher": "deepspeed", "launch.processes": 8, "launch.zero_stage": 2}
    with pytest.raises(BadInput, match=r"8 processes.*4 cores and no GPU") as told:
        check_recipe(load("toy", many))
    words = str(told.value).partition("--set ")[2].split()
    assert words == ["launch.launcher=plain", "launch.processes=1", "launch.zero_stage=null"]
    alone = {key: yaml.safe_load(value) for key, _, value in (word.partition("=") for word in words)}
    check_recipe(load("toy", many | alone))
    check_recipe(load("toy", many), to_train=False)  # the data stages need no rank
    check_recipe(load("toy", many | {"launch.device": "cpu"}))  # as somebody wants it
    monkeypatch.setattr(runner, "has_gpu", lambda: True)
    check_recipe(load("toy", many))
