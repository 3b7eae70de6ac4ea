"""Which of many vectors are near which, some at a time: no table of all pairs. It knows vectors, not pictures.

Shapes: N and M vectors, D numbers each, of length 1, float32; B of them at once.
"""

from __future__ import annotations

import torch
from torch import Tensor

_HELD_BACK, _TINY = 0.1, 1e-12
BLOCK = 2048  # vectors of either side at once: a table of 17 MB


def evened(seen_ND: Tensor, by_MD: Tensor) -> Tensor:
    """Turn vectors so that what all of `by_MD` share counts nothing, and no direction of theirs more than another -> unit vectors [N, D].

    An encoder's own cosines say that everything is alike: docs/mix.md has what this changes. Directions that few pictures tell apart are
    held back: a tenth of the mean of the variances that can be more than 0 is added to each, and more where there are few pictures, whose
    small variances are chance.
    """
    if not len(by_MD):
        return seen_ND
    middle_D = by_MD.mean(0)
    away_MD = (by_MD - middle_D).double()
    spread_DD = away_MD.T @ away_MD / len(away_MD)
    share = _HELD_BACK * (1 + len(spread_DD) / (10 * len(away_MD)))
    held = share * spread_DD.trace() / max(1, min(len(away_MD) - 1, len(spread_DD)))
    value_D, turn_DD = torch.linalg.eigh(spread_DD)
    turned_DD = turn_DD * (value_D.clamp_min(0) + held + _TINY).rsqrt()
    return torch.nn.functional.normalize((seen_ND - middle_D) @ turned_DD.to(seen_ND.dtype), dim=1)


def nearest(of_ND: Tensor, among_MD: Tensor, *, but_itself: bool = False) -> tuple[Tensor, Tensor]:
    """Find the nearest of `among_MD` for each -> cosine [N], place [N]; `but_itself`: both are the same, and nothing is its own.

    Of equally near ones the first. Where there is none, cosine and place are -2 and -1.
    """
    best_N = torch.full((len(of_ND),), -2.0, device=of_ND.device)
    place_N = torch.full((len(of_ND),), -1, device=of_ND.device)
    for first in range(0, len(of_ND), BLOCK):
        rows = slice(first, first + BLOCK)
        for other in range(0, len(among_MD), BLOCK):
            cosine_BB = of_ND[rows] @ among_MD[other : other + BLOCK].T
            if but_itself and other == first:
                cosine_BB.fill_diagonal_(-2)
            value, at = cosine_BB.max(1)
            nearer = value > best_N[rows]
            best_N[rows] = torch.where(nearer, value, best_N[rows])
            place_N[rows] = torch.where(nearer, at + other, place_N[rows])
    return best_N, place_N


def first_alike(of_ND: Tensor, above: float) -> Tensor:
    """Find for each the first one that stays and that it is alike to, a cosine of `above` or more -> place [N]; its own if it stays.

    What stays is alike to none before it that stays: no chains, in which each is alike to the next and the ends to nothing.
    """
    first_N = torch.full((len(of_ND),), -1)
    stays: list[int] = []
    for begin in range(0, len(of_ND), BLOCK):
        block_BD = of_ND[begin : begin + BLOCK]
        mine_B = first_N[begin : begin + BLOCK]
        for start in range(0, len(stays), BLOCK):
            some = torch.tensor(stays[start : start + BLOCK])
            near_BB = (block_BD @ of_ND[some.to(of_ND.device)].T >= above).cpu()
            found_B = (mine_B < 0) & near_BB.any(1)
            mine_B[found_B] = some[near_BB[found_B].int().argmax(1)]
        among_BB = (block_BD @ block_BD.T >= above).cpu()
        for number in (mine_B < 0).nonzero()[:, 0].tolist():
            if mine_B[number] < 0:
                stays.append(begin + number)
                later_B = among_BB[number] & (mine_B < 0)
                later_B[: number + 1] = False
                later_B[number] = True
                mine_B[later_B] = begin + number
    return first_N
