"""Numbers within five percent, edit distance and ANLS, boxes and CIDEr: values worked out by hand."""

from __future__ import annotations

import math

import pytest

from tinyllava_core.evaluate.score.benchmarks.rules.boxes import NOWHERE, fractions, grid, holds_centre, overlap
from tinyllava_core.evaluate.score.benchmarks.rules.cider import cider, words
from tinyllava_core.evaluate.score.benchmarks.rules.distance import (
    anls_lmms,
    anls_official,
    anls_pix2struct,
    edit_distance,
)
from tinyllava_core.evaluate.score.benchmarks.rules.numbers import relaxed, relaxed_swapped


@pytest.mark.parametrize(
    ("said", "gold", "right"),
    [
        ("105", "100", True),
        ("106", "100", False),
        ("1.05", "1", False),  # floating point: .05 is 0.050000000000000044
        ("2010", "2100", True),  # years get their five percent too
        ("62", "62%", False),  # a factor of 100
        ("62%%", "62%", True),
        ("0.0", "0", False),  # a gold of 0 is a text
        ("0", "0", True),
        ("1,000", "1000", False),  # no number
        (" 1_000 ", "1000", True),
        ("$5", "5", False),
        ("YES", "Yes", True),
        ("yes.", "yes", False),
    ],
)
def test_numbers_may_be_five_percent_off(said: str, gold: str, right: bool) -> None:
    assert relaxed(said, gold) is right


def test_exchanged_arguments_are_five_percent_of_the_prediction() -> None:
    assert relaxed_swapped("105.2", "100")  # 5.2 / 105.2 is less than .05, 5.2 / 100 is not
    assert not relaxed("105.2", "100")


@pytest.mark.parametrize(("one", "other", "steps"), [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "abc", 0)])
def test_edit_distance(one: str, other: str, steps: int) -> None:
    assert edit_distance(one, other) == edit_distance(other, one) == steps


def test_anls_keeps_exactly_one_half_but_for_pix2struct() -> None:
    assert anls_official("ab", ["ax"]) == 0.5
    assert anls_pix2struct("ab", ["ax"]) == 0
    assert anls_official("Dr.  No", ["dr. no"]) == 1  # distance 0, whatever the length
    assert anls_official("abcd", ["abcx", "zzzz"]) == 0.75
    assert anls_official("abcd", ["axyz"]) == 0


def test_the_length_is_of_the_raw_texts() -> None:
    """One letter wrong of two: 1/2 of the clean length, but 1/6 of the raw one with its blanks."""
    assert anls_official("  ab  ", ["ax"]) == pytest.approx(5 / 6)
    assert anls_lmms("  ab  ", ["ax"]) == 0.5
    assert anls_official("", [""]) == 1


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("[0.1, 0.2, 0.5, 0.4]", (0.1, 0.2, 0.5, 0.4)),
        ("box: [ 0,0, 1, -1 ] or [1,1,1,1]", (0.0, 0.0, 1.0, -1.0)),
        ("[0 ,0,1,1]", NOWHERE),
        ("[0.1 0.2 0.5 0.4]", NOWHERE),
        ("[.1, .2, .5, .4]", NOWHERE),
        ("[1e-1, 0, 1, 1]", NOWHERE),
        ("(0.1, 0.2, 0.5, 0.4)", NOWHERE),
    ],
)
def test_a_box_is_read_from_square_brackets_with_commas(text: str, box: tuple) -> None:
    assert fractions(text) == box


def test_a_box_on_qwens_grid() -> None:
    assert grid("the dog (100,200),(500,400)") == (0.1, 0.2, 0.5, 0.4)
    assert grid("[0.1, 0.2, 0.5, 0.4]") == NOWHERE


def test_overlap_is_the_shared_area_over_the_covered_one() -> None:
    assert overlap((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(2 / 6)
    assert overlap((0, 0, 1, 1), (2, 2, 3, 3)) == 0
    assert overlap((0, 0, 1, 1), NOWHERE) == 0
    assert overlap(NOWHERE, NOWHERE) == 0
    assert holds_centre((0, 0, 2, 2), (1, 1, 3, 3))
    assert not holds_centre((0, 0, 1, 1), (1, 1, 3, 3))


@pytest.mark.parametrize(
    ("caption", "cut"),
    [
        ("A dog's ball, isn't it?", ["a", "dog", "'s", "ball", "is", "n't", "it"]),
        ("A light-colored wall at 5.30 p.m.", ["a", "light-colored", "wall", "at", "5.30", "p.m."]),
        ("It cannot (really) be.", ["it", "can", "not", "-lrb-", "really", "-rrb-", "be"]),
    ],
)
def test_captions_are_cut_into_the_penn_treebanks_words(caption: str, cut: list[str]) -> None:
    assert words(caption) == cut


def test_cider_of_the_reference_itself_is_ten_and_of_other_words_nothing() -> None:
    references = [[["a", "dog", "runs", "fast"]], [["two", "men", "eat", "red", "apples"]]]
    assert cider([references[0][0], ["nothing", "of", "that", "kind", "here"]], references) == [pytest.approx(10), 0]


def test_cider_by_hand() -> None:
    """One word right of two, both in one of two pictures: unigrams 1/2 / (sqrt 2 * sqrt 2), nothing longer, lengths equal."""
    found = cider([["dog", "runs"], ["x"]], [[["dog", "sits"]], [["y"]]])
    assert found[0] == pytest.approx(10 / 4 * 0.5)


def test_cider_punishes_another_length() -> None:
    """Twice the words: the first four of eight n-grams per order match; the bigrams' count is three more."""
    short, long = ["b", "c", "d", "e"], ["b", "c", "d", "e", "f", "g", "h"]
    found = cider([long, ["x"]], [[short], [["y"]]])
    cosines = [4 / (2 * math.sqrt(7)), 3 / (math.sqrt(3) * math.sqrt(6)), 2 / (math.sqrt(2) * math.sqrt(5)), 1 / 2]
    assert found[0] == pytest.approx(10 * sum(cosines) / 4 * math.exp(-9 / 72))


def test_a_word_in_every_reference_weighs_nothing() -> None:
    assert cider([["a"], ["a"]], [[["a"]], [["a"]]]) == [0, 0]
