"""Near hashes through bands, against comparing every pair."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tinyllava_core.data.mix import near
from tinyllava_core.data.mix.near import FLAT, near_between, near_within

Triples = list[tuple[int, int, int]]


def triples(pairs: near.Pairs) -> Triples:
    return list(zip(pairs.first.tolist(), pairs.second.tolist(), pairs.distance.tolist(), strict=True))


def hashes(count: int, seed: int) -> np.ndarray:
    """Random hashes, most of them a few bits from one of ten; some equal, some of pictures without detail."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).integers(0, 2**64, 10, dtype=np.uint64)
    found, restless = centres[rng.integers(0, 10, count)], rng.random(count) ** 2
    for _ in range(8):
        flipped = np.uint64(1) << rng.integers(0, 64, count, dtype=np.uint64)
        found = np.where(rng.random(count) < restless, found ^ flipped, found)
    found[rng.random(count) < 0.05] = 0
    return found


def apart(a: np.ndarray, i: int, b: np.ndarray, j: int) -> int:
    return (int(a[i]) ^ int(b[j])).bit_count()


def plain(hash_: np.uint64) -> bool:
    return int(hash_).bit_count() < FLAT


@pytest.mark.parametrize("max_distance", [0, 1, 3, 4, 7, 8, 11])
@pytest.mark.parametrize(("left", "right"), [(60, 200), (200, 60)])
def test_between_two_sets_every_near_pair_is_found_once(max_distance: int, left: int, right: int) -> None:
    first, second = hashes(left, 1), np.concatenate([hashes(right // 2, 1), hashes(right // 2, 2)])
    expected = [
        (i, j, apart(first, i, second, j))
        for i, j in itertools.product(range(left), range(right))
        if apart(first, i, second, j) <= max_distance and not plain(first[i]) and not plain(second[j])
    ]
    assert expected
    assert triples(near_between(first, second, max_distance)) == expected


@pytest.mark.parametrize("max_distance", [0, 2, 3, 5, 8])
def test_within_one_set_pairs_stay_in_their_group_and_equal_hashes_are_led_by_the_first(max_distance: int) -> None:
    found, group = hashes(300, 3), np.random.default_rng(3).integers(0, 3, 300)
    first_of = {(group[i], found[i]): i for i in reversed(range(300))}
    expected = []
    for i, j in itertools.combinations(range(300), 2):
        leads_j, leads_i = (first_of[group[n], found[n]] == n for n in (j, i))
        near_enough = group[i] == group[j] and apart(found, i, found, j) <= max_distance
        led = found[i] == found[j] and leads_i
        if near_enough and not plain(found[i]) and (led or (leads_i and leads_j)):
            expected.append((i, j, apart(found, i, found, j)))
    assert triples(near_within(group, found, max_distance)) == sorted(expected)


def test_nothing_is_near_nothing() -> None:
    none = np.empty(0, np.uint64)
    assert triples(near_between(none, hashes(5, 0), 3)) == []
    assert triples(near_within(np.empty(0, np.int64), none, 3)) == []


def test_few_pairs_at_a_time_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = hashes(80, 1), hashes(90, 1)
    whole = triples(near_between(first, second, 8))
    monkeypatch.setattr(near, "_PAIRS", 7)
    assert triples(near_between(first, second, 8)) == whole
