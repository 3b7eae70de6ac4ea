"""The table of benchmarks."""

from __future__ import annotations

import pytest

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.score.benchmarks import BENCHMARKS, benchmark

SHORT = "\nAnswer the question using a single word or phrase."
LETTER = "\nAnswer with the option's letter from the given choices directly."


def test_each_row_stands_under_its_own_name_and_its_default_is_a_variant() -> None:
    for name, row in BENCHMARKS.items():
        assert row.name == name
        assert row.default in row.variants
        assert all((variant.mark is None) != (variant.judged is None) for variant in row.variants.values())


@pytest.mark.parametrize(
    ("names", "suffix", "max_new_tokens"),
    [("vqa gqa textvqa pope mme", SHORT, 128), ("scienceqa mmbench", LETTER, 1024)],
)
def test_a_benchmark_asks_as_llava_does(names: str, suffix: str, max_new_tokens: int) -> None:
    for name in names.split():
        assert (BENCHMARKS[name].suffix, BENCHMARKS[name].max_new_tokens) == (suffix, max_new_tokens)


def test_an_unknown_scorer_lists_the_known_and_the_nearest() -> None:
    with pytest.raises(BadInput, match=r"unknown scorer 'textvq'; nearest: 'textvqa'\. Known: .*pope, .*textvqa"):
        benchmark("textvq")


def test_an_unknown_variant_lists_the_known() -> None:
    with pytest.raises(BadInput, match=r"unknown variant of textvqa 'orc'; nearest: 'ocr'\. Known: no-ocr, ocr"):
        benchmark("textvqa").variant("orc")
