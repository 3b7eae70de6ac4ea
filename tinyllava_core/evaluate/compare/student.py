"""Student's distribution, for the few degrees of freedom that a handful of seeds leave. Only what seeds.py needs of it."""

from __future__ import annotations

import math

_TINY = 1e-300
_STEPS = 300


def student_p(t: float, freedom: float) -> float:
    """Give the two-sided p-value of a t statistic: the incomplete beta function at v / (v + t^2)."""
    return _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t))


def student_quantile(share: float, freedom: float) -> float:
    """Give the value that so large a share (more than one half) of draws stays below; by halving."""
    low, high = 0.0, 1.0
    while 1 - student_p(high, freedom) / 2 < share:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if 1 - student_p(middle, freedom) / 2 < share else (low, middle)
    return (low + high) / 2


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Give the regularised incomplete beta function by its continued fraction (Lentz). Source: Abramowitz and Stegun 26.5.8."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(b, a, 1 - x)
    front = math.exp(a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b))
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > _TINY else _TINY)
    found = d
    for m in range(1, _STEPS):
        for part in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 + part * d
            c = 1 + part / c
            d, c = 1 / (d if abs(d) > _TINY else _TINY), c if abs(c) > _TINY else _TINY
            found *= d * c
        if abs(d * c - 1) < 1e-12:
            break
    return front * found / a
