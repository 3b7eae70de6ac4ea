"""Which tokens of a pack's pictures are read, and in which order, where that is not as they come: LLaVA-NeXT's map, pictures of any
shape. It encodes nothing.

Shapes: K tokens of a tile, I image tokens of all pictures, N pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tinyllava_core.parts.picture import Cut, Scheme

NEWLINE = -1  # in an order: the embedding that ends a row
_ONE = np.array([1.0, 0.0, 0.0, 0.0])  # all of the first


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Which tokens of the tiles a sequence reads, where it does not read all of them in their order."""

    place_I: (
        Tensor  # int64 [I], or [I, 4]: of the tiles' tokens, counted through; NEWLINE: the embedding that ends a row
    )
    weight_I: Tensor | None = None  # float32 [I, 4]: a token that stands between four
    tokens: int  # of a tile; of the largest picture, where they have any shape
    shapes_N2: Tensor | None = None  # int64: rows and columns of patches of each picture, where they have any shape

    def part(self, places: slice, tiles: slice) -> Order:
        """Give some of the tokens, where only `tiles` are left."""
        place_I, weight_I = self.place_I[places], self.weight_I
        return Order(
            place_I=torch.where(place_I == NEWLINE, NEWLINE, place_I - (tiles.start or 0) * self.tokens),
            shapes_N2=None if self.shapes_N2 is None else self.shapes_N2[tiles],
            weight_I=None if weight_I is None else weight_I[places],
            tokens=self.tokens,
        )


def order_of(scheme: Scheme, sizes: Sequence[tuple[int, int]]) -> Order | None:
    """Say in which order the tokens of pictures of these sizes are read; None: as they come."""
    if scheme.mode == "native":
        return _native(scheme, [scheme.cut(*size) for size in sizes])
    if scheme.mode != "anyres":
        return None
    found, weights, first = [], [], 0
    for size in sizes:
        cut = scheme.cut(*size)
        place, weight = _anyres(scheme, cut)
        found.append(np.where(place == NEWLINE, NEWLINE, place + first))
        weights.append(weight)
        first += cut.num_tiles * scheme.tokens
    if not found:
        return None
    places = torch.from_numpy(np.concatenate(found))
    if scheme.max_tiles is None:
        return Order(place_I=places[:, 0].contiguous(), tokens=scheme.tokens)
    return Order(place_I=places, weight_I=torch.from_numpy(np.concatenate(weights)), tokens=scheme.tokens)


def _native(scheme: Scheme, cuts: Sequence[Cut]) -> Order | None:
    """Each picture's windows come first on its places, in reading order; the places that it does not fill are not read."""
    if not cuts:
        return None
    window = scheme.tile // scheme.patch
    return Order(
        place_I=torch.cat([number * scheme.max_windows + torch.arange(cut.tokens) for number, cut in enumerate(cuts)]),
        tokens=scheme.max_windows,
        shapes_N2=torch.tensor([[cut.rows * window, cut.columns * window] for cut in cuts]),
    )


def _anyres(scheme: Scheme, cut: Cut) -> tuple[np.ndarray, np.ndarray]:
    """Give one picture's order: the whole one's tokens, then the map's rows without the padding -> [I, 4], weights [I, 4]."""
    side, kept = scheme.side, cut.kept
    assert side is not None
    assert kept is not None
    y, x = np.mgrid[kept.top : kept.top + kept.rows, kept.left : kept.left + kept.columns]
    tile = 1 + y // side * cut.columns + x // side
    map_YX = tile * scheme.tokens + y % side * side + x % side
    near_y, far_y, down = _between(kept.rows, kept.to_rows)
    near_x, far_x, across = _between(kept.columns, kept.to_columns)
    places = np.stack([map_YX[np.ix_(a, b)] for a in (near_y, far_y) for b in (near_x, far_x)], -1)
    weights = np.stack([np.outer(a, b) for a in (1 - down, down) for b in (1 - across, across)], -1)
    ends = np.full((kept.to_rows, 1, 4), NEWLINE)
    rows = np.concatenate([places, ends], 1).reshape(-1, 4)
    shares = np.concatenate([weights, np.tile(_ONE, (kept.to_rows, 1, 1))], 1).reshape(-1, 4)
    whole = np.repeat(np.arange(scheme.tokens)[:, None], 4, 1)
    return np.concatenate([whole, rows]), np.concatenate([np.tile(_ONE, (scheme.tokens, 1)), shares]).astype(np.float32)


def _between(length: int, to: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Say between which two places each of `to` new ones lies, and how near to the second: torch's bilinear, corners not aligned."""
    at = np.maximum((np.arange(to) + 0.5) * (length / to) - 0.5, 0)
    near = at.astype(np.int64)
    return near, np.minimum(near + 1, length - 1), at - near
