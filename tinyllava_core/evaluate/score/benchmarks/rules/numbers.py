"""When two numbers in answers about charts count as the same: within five percent."""

from __future__ import annotations

TOLERANCE = 0.05


def relaxed(said: str, gold: str) -> bool:
    """Compare as pix2struct's relaxed accuracy does, which everybody copied: numbers within 5 % of the gold, else texts.

    A gold of 0 is compared as text; `62` and `62%` differ by a factor of 100; years get their 5 % too.
    Source: pix2struct `metrics.py`, `relaxed_correctness`.
    """
    said = said.strip()
    number, wanted = number_of(said), number_of(gold)
    if number is not None and wanted:
        return abs(number - wanted) / abs(wanted) <= TOLERANCE
    return said.lower() == gold.lower()


def relaxed_swapped(said: str, gold: str) -> bool:
    """Compare as Qwen-VL's and InternVL's code does, which calls it with the two exchanged: 5 % of the prediction."""
    return relaxed(gold, said.strip())


def number_of(text: str) -> float | None:
    """Read a number as Python does, or a percentage as its hundredth; None: neither."""
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None
