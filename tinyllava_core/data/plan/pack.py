"""Pack the records of one optimizer step into sequences, and deal the sequences out to ranks. It reads no file.

A plan does not know on how many ranks it will be trained, so packs are made level: as few as they can be, then as many as
eight (or four, or two) divides, then all of nearly the same length. Whatever number of ranks divides the number of packs,
each rank gets nearly the same work. A pack is computed at its own length: what it is short of its capacity costs nothing.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from heapq import heapreplace

import numpy as np

_RANKS = (8, 4, 2)  # the GPUs of a machine, mostly: the number of packs is made a multiple of the first that is cheap
_MORE = 1.5  # cheap: at most half as many packs again; they are shorter then, not emptier
_SEARCH = 8  # halvings in the search for the smallest capacity


def pack(tokens: Sequence[int] | np.ndarray, capacity: int) -> list[list[int]]:
    """Pack records into sequences of at most `capacity` tokens -> places of each pack; no record is longer than that.

    Packs come longest first, and a pack's places in the step's order. O(n log n) for n records.
    """
    lengths = [int(length) for length in tokens]
    longest_first = sorted(range(len(lengths)), key=lambda place: (-lengths[place], place))
    fewest = best_fit(lengths, longest_first, capacity)
    packs = level(lengths, longest_first, _for_ranks(len(fewest), len(lengths)), capacity) or fewest
    totals = [sum(lengths[place] for place in one) for one in packs]
    return [sorted(packs[number]) for number in sorted(range(len(packs)), key=lambda number: (-totals[number], number))]


def best_fit(lengths: Sequence[int], longest_first: Sequence[int], capacity: int) -> list[list[int]]:
    """Put each record, the longest first, into the fullest pack that has room for it."""
    packs: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # (room, pack), ascending
    for place in longest_first:
        at = bisect_left(rooms, (lengths[place], -1))
        if at == len(rooms):
            packs.append([place])
            insort(rooms, (capacity - lengths[place], len(packs) - 1))
        else:
            room, number = rooms.pop(at)
            packs[number].append(place)
            insort(rooms, (room - lengths[place], number))
    return packs


def level(
    lengths: Sequence[int], longest_first: Sequence[int], num_packs: int, capacity: int
) -> list[list[int]] | None:
    """Spread records over so many packs that the longest pack is short; None if one would be longer than `capacity`.

    Two ways, the better one counts: each record, the longest first, to the shortest pack (LPT); and best fit within the
    smallest capacity with which so many packs are enough (MULTIFIT). Then records are exchanged between the longest and
    the shortest pack as long as that helps.
    """
    found = _shortest_takes(lengths, longest_first, num_packs)
    longest = max(sum(lengths[place] for place in one) for one in found)
    low, high = max(lengths[longest_first[0]], -(-sum(lengths) // num_packs)), min(longest - 1, capacity)
    best = found if longest <= capacity else None
    for _ in range(_SEARCH):
        if low > high:
            break
        middle = (low + high) // 2 if best else high  # first of all: is there any way within the capacity?
        fitted = best_fit(lengths, longest_first, middle)
        if len(fitted) <= num_packs:
            best, high = fitted, middle - 1
        elif best is None:
            return None
        else:
            low = middle + 1
    return None if best is None else _exchanged(lengths, best + [[] for _ in range(num_packs - len(best))])


def _exchanged(lengths: Sequence[int], packs: list[list[int]]) -> list[list[int]]:
    """Move a record from the longest pack to the shortest, or exchange two, whatever brings them nearest; at most 2 x packs times."""
    held = [sorted((lengths[place], place) for place in one) for one in packs]
    totals = sorted((sum(length for length, _ in one), number) for number, one in enumerate(held))
    for _ in range(2 * len(held)):
        (least, short), (most, long) = totals[0], totals[-1]
        give, take = _best_exchange(held[long], held[short], most - least)
        delta = (give[0] if give else 0) - (take[0] if take else 0)
        if not 0 < delta < most - least:
            break
        for one, out, into in ((long, give, take), (short, take, give)):
            if out:
                held[one].remove(out)
            if into:
                insort(held[one], into)
        del totals[0], totals[-1]
        insort(totals, (most - delta, long))
        insort(totals, (least + delta, short))
    return [[place for _, place in one] for one in held if one]


def _best_exchange(
    long: list[tuple[int, int]], short: list[tuple[int, int]], gap: int
) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """Choose the (length, place) that the longest pack gives and the one that it takes for it, if any: half the gap apart."""
    best: tuple[float, tuple[int, int] | None, tuple[int, int] | None] = (gap / 2, None, None)
    for give in long:
        at = bisect_left(short, (int(give[0] - gap / 2), -1))
        for take in (None, *short[max(0, at - 1) : at + 2]):
            off = abs(give[0] - (take[0] if take else 0) - gap / 2)
            if off < best[0]:
                best = (off, give, take)
    return best[1], best[2]


def deal(pack_tokens: Sequence[int] | np.ndarray, world_size: int) -> list[list[tuple[int, bool]]]:
    """Deal packs, longest first, to ranks -> of each rank [(pack, counts)]. Every rank gets equally many, as ranks must.

    In each round the rank with the fewest tokens so far takes the longest pack. Where the last round has too few, the
    other ranks repeat the shortest pack, uncounted.
    """
    loads = [0] * world_size
    hands: list[list[tuple[int, bool]]] = [[] for _ in range(world_size)]
    for first in range(0, len(pack_tokens), world_size):
        ranks = sorted(range(world_size), key=lambda rank: (loads[rank], rank))
        for place, rank in enumerate(ranks, first):
            counts = place < len(pack_tokens)
            number = place if counts else len(pack_tokens) - 1
            hands[rank].append((number, counts))
            loads[rank] += int(pack_tokens[number])
    return hands


def _for_ranks(fewest: int, num_records: int) -> int:
    """Give a number of packs that eight, four or two divides, if that takes few more than there must be."""
    for ranks in _RANKS:
        number = -(-fewest // ranks) * ranks
        if number <= min(_MORE * fewest, num_records):
            return number
    return fewest


def _shortest_takes(lengths: Sequence[int], longest_first: Sequence[int], num_packs: int) -> list[list[int]]:
    packs: list[list[int]] = [[] for _ in range(num_packs)]
    heap = [(0, number) for number in range(num_packs)]
    for place in longest_first:
        total, number = heap[0]
        packs[number].append(place)
        heapreplace(heap, (total + lengths[place], number))
    return packs
