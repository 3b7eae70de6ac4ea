"""Which records are held out: whole groups that share images, the same on every machine."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from tinyllava_core.data.plan.held_out import held_out

# records 0, 3 and 5 hang together through images a and b; 1 and 2 are alone; 4 and 6 share c
IMAGES = [["a"], [], ["d"], ["a", "b"], ["c"], ["b"], ["c"]]
GROUPS = [{0, 3, 5}, {1}, {2}, {4, 6}]


def choose(count: int, seed: int) -> set[int]:
    ids = pa.chunked_array([[f"r-{number}" for number in range(len(IMAGES))]])
    images = pa.chunked_array([pa.array(IMAGES, pa.list_(pa.string()))])
    return set(np.flatnonzero(held_out(ids, images, count, seed)).tolist())


def test_records_that_share_an_image_go_together() -> None:
    for seed in range(30):
        chosen = choose(3, seed)
        assert all(group <= chosen or not group & chosen for group in GROUPS), seed
        assert len(chosen) >= 3, seed


def test_some_group_is_always_left_to_train_on() -> None:
    for seed in range(10):
        assert choose(100, seed) < set(range(7))


def test_the_choice_is_the_seeds_and_more_only_adds() -> None:
    assert len({frozenset(choose(2, seed)) for seed in range(30)}) > 3
    assert choose(2, 4) == choose(2, 4)
    assert choose(1, 4) <= choose(3, 4) <= choose(5, 4)
    assert choose(0, 4) == set()


def test_the_places_of_one_record_go_together_though_it_has_no_image() -> None:
    """A share of 3 puts a text into a mix three times: measured on one place of it, none of the others is trained on."""
    ids = pa.chunked_array([[f"talk-{number % 4}" for number in range(12)]])
    images = pa.chunked_array([pa.array([[]] * 12, pa.list_(pa.string()))])
    for seed in range(10):
        chosen = held_out(ids, images, 4, seed)
        names = np.array(ids.to_pylist())
        assert not set(names[chosen]) & set(names[~chosen]), seed
        assert chosen.sum() == 6, seed  # two of the four records, each in three places
