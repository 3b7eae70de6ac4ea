"""The table of benchmarks."""

from __future__ import annotations

import pytest

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.benchmarks import BENCHMARKS, benchmark


def test_each_row_stands_under_its_own_name() -> None:
    assert {name: row.name for name, row in BENCHMARKS.items()} == {"pope": "pope", "textvqa": "textvqa"}


def test_the_short_answer_benchmarks_ask_as_llava_does() -> None:
    for row in BENCHMARKS.values():
        assert row.suffix == "\nAnswer the question using a single word or phrase."
        assert row.max_new_tokens == 128


def test_an_unknown_scorer_lists_the_known_and_the_nearest() -> None:
    with pytest.raises(BadInput, match=r"unknown scorer 'textvq'; nearest: 'textvqa'\. Known: pope, textvqa"):
        benchmark("textvq")
