"""Find the pairs of 64-bit perceptual hashes that differ in few bits. It knows hashes, not pictures.

Two hashes that differ in at most d bits differ in at most d // 4 bits in one of their four 16-bit bands: so only hashes that
share such a band are compared. Memory is bounded; time grows with the pairs that share a band.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

BANDS, BITS = 4, 16
FLAT = (
    16  # fewer set bits than this (a picture's hash has about 32): a picture without detail, which looks like any other
)
_PAIRS = 2_000_000  # compared at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Pairs of hashes, by their places: first[i] and second[i] differ in distance[i] bits."""

    first: np.ndarray
    second: np.ndarray
    distance: np.ndarray


def near_between(first: np.ndarray, second: np.ndarray, max_distance: int) -> Pairs:
    """Find every pair of one hash of `first` and one of `second` that differ in at most `max_distance` bits.

    Pictures without detail are in no pair.
    """
    if len(first) > len(second):  # the fewer are looked up, each under its near bands, among the more
        swapped = near_between(second, first, max_distance)
        return _sorted(swapped.second, swapped.first, swapped.distance)
    few, many = _distinct(first), _distinct(second)
    return _all_of_each(*_near(few.hashes, many.hashes, max_distance), few, many)


def near_within(group: np.ndarray, hashes: np.ndarray, max_distance: int) -> Pairs:
    """Find the pairs of one group that differ in at most `max_distance` bits; `first` is the earlier place.

    Of hashes that are equal, only the first of them is paired with the others. Pictures without detail are in no pair.
    """
    places = np.flatnonzero(np.bitwise_count(hashes) >= FLAT)
    keys = np.rec.fromarrays([group[places], hashes[places]])
    _, leaders, of = np.unique(keys, return_index=True, return_inverse=True)
    follows = places != places[leaders][of]
    led = places[leaders]
    a, b, distance = _near(hashes[led], hashes[led], max_distance, group[led])
    one_way = led[a] < led[b]
    first = np.concatenate([places[leaders][of][follows], led[a][one_way]])
    second = np.concatenate([places[follows], led[b][one_way]])
    return _sorted(first, second, np.concatenate([np.zeros(follows.sum(), np.int16), distance[one_way]]))


def _near(
    first: np.ndarray, second: np.ndarray, max_distance: int, group: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pair distinct hashes through their bands; with `group` (of both alike), only within one group."""
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    masks = _masks(max_distance // BANDS)
    salt = np.zeros(len(first), np.uint64) if group is None else group.astype(np.uint64) << np.uint64(BITS)
    for band in range(BANDS):
        of_second = _band(second, band) | (salt if group is not None else np.uint64(0))
        order = np.argsort(of_second, kind="stable")
        ordered = of_second[order]
        of_first = _band(first, band) | salt
        for mask in masks:
            low, high = (np.searchsorted(ordered, of_first ^ mask, side) for side in ("left", "right"))
            for a, b in _expanded(low, high, order):
                differ = first[a] ^ second[b]
                distance = np.bitwise_count(differ).astype(np.int16)
                new = distance <= max_distance
                for earlier in range(band):  # found there already
                    new &= np.bitwise_count(_band(differ, earlier)) > max_distance // BANDS
                found.append((a[new], b[new], distance[new]))
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int16)
    a, b, distance = (np.concatenate(column) for column in zip(*found, strict=True))
    return a, b, distance


def _expanded(low: np.ndarray, high: np.ndarray, order: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Write ranges [low, high) of `order` out as pairs, a bounded number at a time."""
    counts = high - low
    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _PAIRS, "right")))
        some = counts[start:stop]
        a = np.repeat(np.arange(start, stop), some)
        if len(a):
            offset = np.arange(len(a)) - np.repeat(np.cumsum(some) - some, some)
            yield a, order[np.repeat(low[start:stop], some) + offset]
        start = stop


def _masks(radius: int) -> np.ndarray:
    """List the 16-bit numbers with at most `radius` set bits."""
    chosen = itertools.chain.from_iterable(itertools.combinations(range(BITS), count) for count in range(radius + 1))
    return np.asarray([sum(1 << bit for bit in bits) for bits in chosen], np.uint64)


def _band(hashes: np.ndarray, band: int) -> np.ndarray:
    return (hashes >> np.uint64(BITS * band)) & np.uint64((1 << BITS) - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Distinct:
    """Hashes with detail, each once, and where each of them stands."""

    hashes: np.ndarray
    places: np.ndarray  # of all of them, hash by hash
    ends: np.ndarray  # of each hash's places

    def of(self, number: int) -> np.ndarray:
        return self.places[self.ends[number - 1] if number else 0 : self.ends[number]]


def _distinct(hashes: np.ndarray) -> _Distinct:
    places = np.flatnonzero(np.bitwise_count(hashes) >= FLAT)
    distinct, of, counts = np.unique(hashes[places], return_inverse=True, return_counts=True)
    return _Distinct(hashes=distinct, places=places[np.argsort(of, kind="stable")], ends=np.cumsum(counts))


def _all_of_each(a: np.ndarray, b: np.ndarray, distance: np.ndarray, first: _Distinct, second: _Distinct) -> Pairs:
    """Write pairs of distinct hashes out as pairs of the places where they stand."""
    if not len(a):
        return _sorted(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int16))
    of_pairs = [(first.of(i), second.of(j)) for i, j in zip(a.tolist(), b.tolist(), strict=True)]
    return _sorted(
        np.concatenate([np.repeat(one, len(other)) for one, other in of_pairs]),
        np.concatenate([np.tile(other, len(one)) for one, other in of_pairs]),
        np.repeat(distance, [len(one) * len(other) for one, other in of_pairs]),
    )


def _sorted(first: np.ndarray, second: np.ndarray, distance: np.ndarray) -> Pairs:
    order = np.lexsort((second, first))
    return Pairs(first=first[order], second=second[order], distance=distance[order])
