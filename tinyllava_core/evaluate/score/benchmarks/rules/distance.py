"""How far one text is from another: edit distance, and ANLS, what a nearly right reading is worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rapidfuzz.distance import Levenshtein

HALF = 0.5  # a reading that is further from the right one is worth nothing


def edit_distance(one: str, other: str) -> int:
    """Count the characters to put in, take out or change to make one text the other (Levenshtein)."""
    return int(Levenshtein.distance(one, other))


def anls_official(said: str, gold: Sequence[str]) -> float:
    """Score a reading as the RRC's script does: the nearest right answer, exactly one half is kept.

    The distance is of the cleaned texts (outer blanks off, lower case, single blanks), the length of the upper-cased raw
    ones. Source: the script of the Robust Reading Competition's challenge 17, as Qwen-VL ships it.
    """
    return anls(said, gold, lambda text: " ".join(text.strip().lower().split()), str.upper, keep_half=True)


def anls_lmms(said: str, gold: Sequence[str]) -> float:
    """Score as lmms-eval does, which takes the reply's outer blanks off first."""
    return anls_official(said.strip(), gold)


def anls_pix2struct(said: str, gold: Sequence[str]) -> float:
    """Score as pix2struct does, by the paper's formula: lower case only, exactly one half is nothing.

    Two empty texts, on which it divides by zero, count as equal.
    """
    return anls(said, gold, str.lower, str.lower, keep_half=False)


def anls(
    said: str, gold: Sequence[str], clean: Callable[[str], str], measured: Callable[[str], str], *, keep_half: bool
) -> float:
    """Give 1 - distance / length of the longer text, of the right answer that is nearest; nothing below one half."""
    least = 1.0
    for right in gold:
        length = max(len(measured(said)), len(measured(right)))
        least = min(least, edit_distance(clean(said), clean(right)) / length if length else 0.0)
    worth = 1 - least
    return worth if worth > HALF or (keep_half and worth == HALF) else 0.0
