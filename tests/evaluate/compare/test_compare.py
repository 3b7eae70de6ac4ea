"""Paired comparison: hand-made data with a known answer, and seeded simulations of what the numbers promise."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.compare import compare as module
from tinyllava_core.evaluate.compare.compare import Difference, compare, holm
from tinyllava_core.evaluate.score.benchmarks import BENCHMARKS
from tinyllava_core.evaluate.score.scoring import Item
from tinyllava_core.evaluate.score.statistics import codes, estimate, mean_measure

VQA = BENCHMARKS["vqa"].variant(None)  # a plain mean, clustered by image


def items(scores: list[float], clusters: list[str] | None = None, **more: object) -> list[Item]:
    clusters = clusters or [str(place) for place in range(len(scores))]
    return [
        Item(question_id=n, image=name, parsed="x", score=float(value), cluster=name, **more)
        for n, (value, name) in enumerate(zip(scores, clusters, strict=True))
    ]


def exact_p(first: list[float], second: list[float]) -> float:
    """Go through all swaps of independent questions."""
    change = [Fraction(b) - Fraction(a) for a, b in zip(first, second, strict=True)]
    seen = abs(sum(change))
    signs = list(product((1, -1), repeat=len(change)))
    return sum(abs(sum(s * c for s, c in zip(sign, change, strict=True))) >= seen for sign in signs) / len(signs)


def test_the_difference_and_its_exact_p_value() -> None:
    first, second = [0] * 8 + [1, 1], [1] * 7 + [0, 0, 1]
    found = compare("vqa", VQA, items(first), items(second))
    assert (found.first, found.second, found.difference) == (20, 80, 60)
    # 8 questions differ, 7 to 1: two-sided sign test, 2 * (1 + 8) / 256
    assert exact_p(first, second) == pytest.approx(18 / 256)
    assert found.p_value == pytest.approx(18 / 256, abs=0.012)
    # the sum of changes has per-question variance .64 - .36: mean .6, so sqrt(.44 / 10)
    assert found.stderr == pytest.approx(100 * 0.044**0.5, rel=0.05)
    assert found.ci_low < 60 < found.ci_high
    assert (found.num_questions, found.num_clusters) == (10, 10)


def test_the_questions_of_one_picture_are_swapped_together() -> None:
    """Four pictures of three questions, all for the second: of 16 swaps, 2 are as extreme."""
    clusters = [name for name in "abcd" for _ in range(3)]
    found = compare("vqa", VQA, items([0] * 12, clusters), items([1] * 12, clusters))
    assert found.p_value == pytest.approx(1 / 8, abs=0.015)
    alone = compare("vqa", VQA, items([0] * 12), items([1] * 12))
    assert alone.p_value < 0.002  # 2 of 4096
    assert found.verdict() == "within noise"
    assert alone.verdict() == "second is better"


def test_two_equal_answer_files_do_not_differ() -> None:
    same = items([1, 0, 1, 0.3])
    found = compare("vqa", VQA, same, same)
    assert (found.difference, found.ci_low, found.ci_high, found.p_value, found.verdict()) == (
        0,
        0,
        0,
        1,
        "within noise",
    )


def test_pairing_sees_what_two_error_bars_do_not() -> None:
    """200 questions, five of them better and none worse: far within either error bar, and yet a difference."""
    first = [n % 2 for n in range(200)]
    second = [1 if n % 40 == 0 else value for n, value in enumerate(first)]
    found = compare("vqa", VQA, items(first), items([*second]))
    cluster_I, num = codes([str(n) for n in range(200)])
    bar = estimate(mean_measure("accuracy", first), cluster_I, num).stderr
    assert found.difference == 2.5
    assert found.difference < bar
    assert found.p_value == pytest.approx(2 / 32, abs=0.012)  # all five the same way
    assert found.stderr < bar / 3


def test_f1_of_pope_is_compared_as_f1() -> None:
    pope = BENCHMARKS["pope"].variant("f1")

    def said(words: str) -> list[Item]:
        labels = "yynnyynn"
        pairs = zip(words, labels, strict=True)
        return [
            Item(question_id=n, image=str(n), parsed="yes" if word == "y" else "no", score=float(word == label),
                 cluster=str(n), facets=("random",))
            for n, (word, label) in enumerate(pairs)
        ]  # fmt: skip

    found = compare("pope", pope, said("yyyyyyyy"), said("yynnyynn"))
    assert (found.metric, found.first, found.second) == ("mean_f1", pytest.approx(200 / 3), 100)


def test_for_hallucination_lower_is_better() -> None:
    chair = BENCHMARKS["chair"].variant(None)
    many = items([0] * 20, counts=(2.0, 2.0, 0.0, 1.0))
    none = items([1] * 20, counts=(0.0, 2.0, 1.0, 1.0))
    found = compare("chair", chair, many, none)
    assert (found.first, found.second, found.verdict()) == (100, 0, "second is better")


def test_other_questions_are_no_comparison() -> None:
    with pytest.raises(
        BadInput, match=r"3 questions in the first, 2 in the second, 1 of the first's are not in the second"
    ):
        compare("vqa", VQA, items([1, 0, 1]), items([1, 0]))
    with pytest.raises(BadInput, match="all questions are about one picture"):
        compare("vqa", VQA, items([1, 0], ["a", "a"]), items([0, 0], ["a", "a"]))


def test_the_order_of_the_lines_does_not_matter_and_neither_does_the_size_of_a_block(monkeypatch) -> None:
    first, second = items([1, 0, 1, 0, 1, 1]), items([0, 0, 1, 1, 1, 1])
    found = compare("vqa", VQA, first, second)
    assert compare("vqa", VQA, first, second[::-1]) == found
    monkeypatch.setattr(module, "_CELLS", 64)
    assert compare("vqa", VQA, first, second).p_value == pytest.approx(found.p_value, abs=0.03)


def test_holm_multiplies_the_smallest_most_and_never_falls() -> None:
    base = compare("vqa", VQA, items([1, 0, 1]), items([1, 1, 1]))

    def with_p(p: float) -> Difference:
        return Difference(**{field: getattr(base, field) for field in base.__slots__} | {"p_value": p, "p_holm": p})

    found = [one.p_holm for one in holm([with_p(p) for p in (0.04, 0.01, 0.03, 0.9)])]
    assert found == pytest.approx([0.09, 0.04, 0.09, 0.9])  # .01*4; .03*3; max(.09, .04*2); .9
    assert [one.p_holm for one in holm([with_p(0.8), with_p(0.7)])] == pytest.approx([1.0, 1.0])


def pictures(draw: np.random.Generator, num_pictures: int, skill: float) -> tuple[np.ndarray, np.ndarray]:
    """Two models' answers to six questions each: easy and hard pictures, the second model better by `skill`."""
    ease_G1 = draw.beta(2, 2, (num_pictures, 1)) * 0.8
    first, second = (draw.random((num_pictures, 6)) < ease_G1 + more for more in (0.0, skill))
    return first.astype(float).ravel(), second.astype(float).ravel()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer resamples: what is simulated is the method, not its last digit."""
    monkeypatch.setattr(module, "PERMUTATIONS", 199)
    monkeypatch.setattr("tinyllava_core.evaluate.score.statistics.RESAMPLES", 300)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """The closed form, clustered: 400 worlds of 60 pictures; counting questions as independent would fall far short."""
    draw = np.random.default_rng(5)
    clusters = [str(n // 6) for n in range(360)]
    cluster_I, num = codes(clusters)
    alone_I, num_alone = codes([str(n) for n in range(360)])
    held = held_alone = 0
    truth = 40.0  # 100 * .8 * the mean of beta(2, 2)
    for _ in range(400):
        values = pictures(draw, 60, 0.0)[0].tolist()
        measure = mean_measure("accuracy", values)
        found, alone = estimate(measure, cluster_I, num), estimate(measure, alone_I, num_alone)
        held += found.ci_low <= truth <= found.ci_high
        held_alone += alone.ci_low <= truth <= alone.ci_high
    assert 0.92 <= held / 400 <= 0.98
    assert held_alone / 400 < 0.92


def test_intervals_of_a_difference_hold_it_about_as_often_as_they_say(quick: None) -> None:
    draw = np.random.default_rng(6)
    clusters = [str(n // 6) for n in range(360)]
    held = 0
    for _ in range(200):
        first, second = pictures(draw, 60, 0.1)
        found = compare("vqa", VQA, items(first.tolist(), clusters), items(second.tolist(), clusters))
        held += found.ci_low <= 10 <= found.ci_high
    assert 0.90 <= held / 200 <= 0.99


def test_models_of_equal_skill_are_rarely_called_different(quick: None) -> None:
    """One in twenty, as the level says; and a real difference of ten points is mostly found."""
    draw = np.random.default_rng(7)
    clusters = [str(n // 6) for n in range(180)]
    called = {}
    for skill in (0.0, 0.2):
        pairs = [pictures(draw, 30, skill) for _ in range(200)]
        found = [compare("vqa", VQA, items(a.tolist(), clusters), items(b.tolist(), clusters)) for a, b in pairs]
        called[skill] = sum(one.p_value < 0.05 for one in found) / 200
    assert 0.01 <= called[0.0] <= 0.095
    assert called[0.2] > 0.8
