"""The sources of a recipe: each once, under the strictest limit, and looked at before anything starts."""

from __future__ import annotations

import pytest

from tasks.source import check_manifests, loss_limits
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
