"""Products of int8 rows with float32 ones, by a processor's int8 instructions: 10 times as many a second as float32 has. It reads no file.

The left side becomes two int8 halves, step x (64 high + low), so it is kept to 14 bits; sums are exact in int32.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from tinyllava_core.why.scores import Multiply, Product, in_float32

_HALF = 64
_MOST = 127 * _HALF  # of a left number, in steps: its high half is an int8 too
_LONGEST = 2048  # numbers of a row at once: int32 holds the sum of 2,080 products of 127 x 64 and 127


@cache
def multiply() -> Multiply:
    """Give the fastest way that this machine multiplies exactly: not every build has int8 products, and processors without VNNI saturate."""
    try:
        left, right = torch.full((32, 256), 127, dtype=torch.int8), torch.full((256, 32), -127, dtype=torch.int8)
        # without oneDNN it would be three nested loops
        fast = torch.backends.mkldnn.is_available() and torch.cpu._is_vnni_supported()
        return in_int8 if fast and (torch._int_mm(left, right) == -256 * 127**2).all() else in_float32
    except (RuntimeError, AttributeError):
        return in_float32


def in_int8(left_LK: np.ndarray) -> Product:
    """Multiply in int8 halves: each number of the left is off by at most its row's largest / 16,256."""
    if (width := left_LK.shape[1]) > _LONGEST:
        pieces = [slice(first, first + _LONGEST) for first in range(0, width, _LONGEST)]
        products = [in_int8(left_LK[:, piece]) for piece in pieces]
        return lambda small_NK: np.sum(
            [
                product(np.ascontiguousarray(small_NK[:, piece]))
                for product, piece in zip(products, pieces, strict=True)
            ],
            0,
        )
    left = torch.from_numpy(np.ascontiguousarray(left_LK, np.float32))
    step_L1 = left.abs().amax(1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny) / _MOST
    whole = (left / step_L1).round_()
    high = (whole / _HALF).round_()
    halves_2LK = torch.cat([high, whole - _HALF * high]).to(torch.int8)

    sums: dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}  # where they go, for blocks of so many rows

    def product(small_NK: np.ndarray) -> np.ndarray:
        count = len(small_NK)
        if count not in sums:
            both, one = (torch.empty(lines, count, dtype=torch.int32) for lines in (2 * len(left), len(left)))
            sums[count] = (both, one, torch.empty(len(left), count))
        both_2LN, whole_LN, out_LN = sums[count]
        torch._int_mm(halves_2LK, torch.from_numpy(small_NK).t(), out=both_2LN)
        high_LN, low_LN = both_2LN.chunk(2)
        torch.add(low_LN, high_LN, alpha=_HALF, out=whole_LN)
        return np.asarray(torch.mul(whole_LN, step_L1, out=out_LN).numpy())

    return product
