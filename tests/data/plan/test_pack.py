"""Packs hold each record once, fit, are few and level; any number of ranks gets equally many, and nearly the same work."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from tinyllava_core.data.plan.pack import deal, pack


def totals(tokens: list[int] | np.ndarray, packs: list[list[int]]) -> list[int]:
    return [int(sum(int(tokens[place]) for place in one)) for one in packs]


def fewest(tokens: list[int], capacity: int) -> int:
    """The number of packs that there must be, by trying every way."""
    for number in range(1, len(tokens) + 1):
        for choice in product(range(number), repeat=len(tokens)):
            loads = [sum(t for t, c in zip(tokens, choice, strict=True) if c == one) for one in range(number)]
            if max(loads) <= capacity:
                return number
    raise AssertionError("a record is longer than the capacity")


def test_what_fits_together_is_put_together_longest_pack_first() -> None:
    # 60 and 40 fill a pack of 100; 50, 30 and 20 another one
    assert pack([20, 60, 50, 30, 40], 100) == [[1, 4], [0, 2, 3]]
    assert pack([100, 100], 100) == [[0], [1]]
    assert pack([7], 100) == [[0]]


def test_packs_are_level_not_full_and_empty() -> None:
    assert totals([30] * 12, pack([30] * 12, 100)) == [90, 90, 90, 90]
    # best fit makes 50 + 49 and 41 + 40
    assert totals([50, 49, 41, 40], pack([50, 49, 41, 40], 100)) == [90, 90]
    # and 60 + 40, 50 + 50, 20 + 10: three, where four divide better among ranks
    assert totals([60, 50, 50, 40, 20, 10], pack([60, 50, 50, 40, 20, 10], 100)) == [60, 60, 60, 50]


@pytest.mark.parametrize("seed", range(30))
def test_small_steps_need_no_more_packs_than_there_must_be_but_for_a_round_number(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(5, 60, 7).tolist()
    must, packs = fewest(tokens, 100), pack(tokens, 100)
    round_number = {1: 1, 2: 2, 3: 4, 4: 4, 5: 6, 6: 6, 7: 7}[must]  # 5: 8 packs of 7 records there cannot be
    assert must <= len(packs) <= round_number
    assert sorted(place for one in packs for place in one) == list(range(7))
    assert max(totals(tokens, packs)) <= 100


@pytest.mark.parametrize(("count", "low", "high", "capacity"), [(128, 750, 2048, 8192), (256, 740, 800, 8192)])
def test_steps_like_the_papers_are_level_on_the_gpus_of_a_machine(
    count: int, low: int, high: int, capacity: int
) -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        tokens = np.clip(low + rng.lognormal(4.5, 1.0, count), low, high).astype(int)
        packs = pack(tokens, capacity)
        loads = totals(tokens, packs)
        assert len(packs) % 8 == 0
        assert loads == sorted(loads, reverse=True)
        assert max(loads) <= capacity
        assert sorted(place for one in packs for place in one) == list(range(count))
        assert all(one == sorted(one) for one in packs)
        for ranks in (2, 4, 8):
            work = [sum(loads[number] for number, _ in hand) for hand in deal(loads, ranks)]
            assert max(work) / (sum(loads) / ranks) < 1.03


def test_equal_lengths_that_fit_oddly_are_packed_as_well_as_they_can_be() -> None:
    assert len(pack([1024] * 128, 2048)) == 64  # exactly two each: not one pack more
    assert len(pack([1025] * 128, 2048)) == 128  # two do not fit


def test_every_pack_is_dealt_once_and_each_rank_gets_equally_many() -> None:
    loads = [90, 80, 70, 60, 50, 40, 30]
    hands = deal(loads, 3)
    # first round 90 80 70; then the lightest rank, the last, takes 60, the next 50, the first 40; all have 130, and 30 is left
    assert hands == [
        [(0, True), (5, True), (6, True)],
        [(1, True), (4, True), (6, False)],
        [(2, True), (3, True), (6, False)],
    ]
    assert {len(hand) for hand in hands} == {3}
    assert sum(counts for hand in hands for _, counts in hand) == 7
    assert deal([5], 4) == [[(0, True)], [(0, False)], [(0, False)], [(0, False)]]
    assert deal(loads, 1) == [[(number, True) for number in range(7)]]
