"""Error bars against hand-worked values, an exact distribution and what must not change them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from tinyllava_core.evaluate.score import statistics
from tinyllava_core.evaluate.score.scoring import Item, all_right, mean_of_means


def mean_of(sums):
    return sums[:, 0] / sums[:, 1]


def error_of(values: list[float], clusters: list[str], *, closed_form: bool = True) -> float:
    """The standard error of a mean, between 0 and 1: from the formula, or from the bootstrap."""
    measure = replace(statistics.mean_measure("", values), closed_form=closed_form)
    if not closed_form:
        measure = replace(measure, statistic=mean_of, max_score=1.0)
    stderr = statistics.estimate(measure, *statistics.codes(clusters)).stderr
    return stderr / 100 if closed_form else stderr


def bootstrapped(values: list[float], clusters: list[str]) -> float:
    return error_of(values, clusters, closed_form=False)


def test_with_one_item_per_cluster_it_is_the_textbook_standard_error() -> None:
    # mean .75, sample variance (3 * .0625 + .5625) / 3 = .25, so .5 / sqrt(4)
    assert error_of([1, 0, 1, 1], ["a", "b", "c", "d"]) == pytest.approx(0.25)


def test_items_of_one_image_count_as_one_draw() -> None:
    # two images, sums of deviations 1 and -1: sqrt(2/1 * (1 + 1)) / 4
    assert error_of([1, 1, 0, 0], ["a", "a", "b", "b"]) == pytest.approx(0.5)
    assert error_of([1, 0, 1, 0], ["a", "a", "b", "b"]) == 0  # the images do not differ


def test_one_image_alone_says_nothing_about_the_error() -> None:
    assert error_of([1, 1, 0], ["a"] * 3) == 0.5
    assert bootstrapped([1, 1, 0], ["a"] * 3) == 0.5


def test_the_bootstrap_of_two_images_has_its_exact_spread() -> None:
    # the mean of two draws out of {0, 1} is 0, .5, 1 with 1/4, 1/2, 1/4: standard deviation sqrt(1/8)
    found = bootstrapped([1, 0], ["a", "b"])
    assert found == pytest.approx(math.sqrt(1 / 8), rel=0.05)


def test_the_bootstrap_agrees_with_the_closed_form_on_many_images() -> None:
    draw = np.random.default_rng(11)
    ease = draw.random(300)  # pictures are easy or hard, so their six questions go together
    values = (draw.random((300, 6)) < ease[:, None]).astype(float).ravel().tolist()
    clusters = [f"{image}.jpg" for image in range(300) for _ in range(6)]
    closed = error_of(values, clusters)
    assert bootstrapped(values, clusters) == pytest.approx(closed, rel=0.1)
    alone = error_of(values, [str(place) for place in range(len(values))])
    assert closed > 1.3 * alone


def test_the_bootstrap_is_the_same_each_time_and_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    values, clusters = [1.0, 0, 1, 1, 0, 0, 1], list("aabbcdd")
    first = bootstrapped(values, clusters)
    assert bootstrapped(values, clusters) == first
    assert bootstrapped(values[::-1], clusters[::-1]) == first
    monkeypatch.setattr(statistics, "_CELLS", 100)  # many small blocks
    assert bootstrapped(values, clusters) == first


def test_asking_every_question_twice_makes_nobody_surer() -> None:
    values, clusters = [1.0, 0, 1, 1, 0, 0, 1], list("aabbcdd")
    once = bootstrapped(values, clusters)
    assert bootstrapped(values * 2, clusters * 2) == pytest.approx(once)


def test_the_mean_does_not_depend_on_the_order() -> None:
    values = [0.1, 0.2, 0.3, 0.6, 0.9] * 1000
    assert statistics.mean(values) == statistics.mean(sorted(values)) == pytest.approx(0.42)


def test_scores_that_are_all_the_same_have_wilsons_interval_whatever_rounding_makes_of_their_spread() -> None:
    """Ten questions worth 0.3 each are known no better than three right answers of ten."""
    expected = (10.779126740630094, 60.322185253885454)  # scipy 1.17, binomtest(3, 10).proportion_ci(method="wilson")
    found = statistics.estimate(statistics.mean_measure("", [0.3] * 10), *statistics.codes(list("abcdefghij")))
    assert found.stderr == 0
    assert (found.ci_low, found.ci_high) == pytest.approx(expected)


def item(place: int, score: float, *, facet: str = "", cluster: str = "") -> Item:
    return Item(question_id=place, image=None, parsed="", score=score, cluster=cluster or str(place), facets=(facet,))


def test_no_resample_takes_a_kind_that_it_did_not_draw_for_one_that_is_all_wrong() -> None:
    """All answers are right, one of a rare kind: a third of the draws miss it, and are right all the same."""
    items = [item(0, 1, facet="rare"), *(item(place, 1, facet="common") for place in range(1, 40))]
    measure = mean_of_means("", items, {"rare": 1.0, "common": 1.0})
    found = statistics.estimate(measure, *statistics.codes([one.cluster for one in items]))
    assert (found.value, found.stderr, found.ci_low, found.ci_high) == (100, 0, 100, 100)


def test_no_right_pair_of_twenty_is_not_known_to_be_none_at_all() -> None:
    """One of each pair is right, so no pair: at most 16 % of all such pairs, scipy 1.17, binomtest(0, 20)'s Wilson interval."""
    items = [item(place, place % 2, cluster=str(place // 2)) for place in range(40)]
    clusters = [one.cluster for one in items]
    found = statistics.estimate(all_right("pairs", items, clusters), *statistics.codes(clusters))
    assert (found.value, found.n, found.num_clusters) == (0, 20, 20)
    assert (found.ci_low, found.ci_high) == pytest.approx((0, 16.112515805281934))
