"""The one exception that means: the user's input is at fault. Not for our own faults (those are assertions)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BadInput(ValueError):
    """What is wrong (with the value), what was expected, what to do: one line. Programs end with exit code 2 on it."""


def nearest(key: str, known: Iterable[str]) -> str:
    """Say which known key is nearest to `key`, for an error text: "; nearest: 'x'", or nothing if none is near."""
    match = difflib.get_close_matches(key, list(known), n=1, cutoff=0.4)
    return f"; nearest: {match[0]!r}" if match else ""


def unknown(kind: str, key: str, known: Iterable[str]) -> BadInput:
    """Make the error for a key that its table does not have: lists the known ones and the nearest."""
    names = sorted(known)
    return BadInput(f"unknown {kind} {key!r}{nearest(key, names)}. Known: {', '.join(names)}")
