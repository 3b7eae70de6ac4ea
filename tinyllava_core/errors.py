"""The one exception that means: the user's input is at fault, and the command lines that raise it.

Not for our own faults (those are assertions).
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import re
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from tinyllava_core.secret import without_secrets

# What moves a terminal's cursor, colours, renames or reorders it: C0 and C1 controls, other line ends, bidirectional marks; halves of pairs.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_URL = re.compile(r"[a-z][a-z0-9+.-]{1,20}://[^\s'\"<>]{1,4000}?(?=[.,:;)\]}]*(?:[\s'\"<>]|$))", re.IGNORECASE)
_HALF = re.compile("[\ud800-\udfff]")

_MANY, _NEAR = 40, 8  # known names that are too many to be read in an error; how many of them it names then


class BadInput(ValueError):
    """What is wrong (with the value), what was expected, what to do: one line. Programs end with exit code 2 on it."""

    def __str__(self) -> str:
        """Give the text as one line that a terminal shows as it is; where a stranger's value makes it very long, without its middle."""
        text = visible(_URL.sub(lambda found: without_secrets(found[0]), super().__str__()))
        return text if len(text) <= 2000 else f"{text[:1200]} [...] {text[-600:]}"


def visible(text: str, but: str = "") -> str:
    """Write control characters as escapes, but for some: what a stranger wrote shall not steer a terminal, nor look like a line of ours."""
    return _UNSEEN.sub(lambda found: found[0] if found[0] in but else ascii(found[0])[1:-1], text)


def is_no_text(text: str) -> bool:
    """Tell whether a text holds halves of surrogate pairs, as JSON may and bytes that are no UTF-8 become: no file and no tokenizer takes it."""
    return _HALF.search(text) is not None


def nearest(key: str, known: Iterable[str]) -> str:
    """Say which known key is nearest to `key`, for an error text: "; nearest: 'x'", or nothing if none is near."""
    match = difflib.get_close_matches(key, list(known), n=1, cutoff=0.4)
    return f"; nearest: {match[0]!r}" if match else ""


def unknown(kind: str, key: str, known: Iterable[str]) -> BadInput:
    """Make the error for a key that its table does not have: the nearest, and the known ones; of very many, those that are near."""
    names = sorted(known)
    near = difflib.get_close_matches(key, names, n=_NEAR, cutoff=0.4) if len(names) > _MANY else []
    told = f"{', '.join(near)}, and {len(names) - len(near)} others" if near else ", ".join(names)
    return BadInput(f"unknown {kind} {key!r}{nearest(key, names)}. Known: {told}")


def unforeseen(error: Exception) -> str:
    """Say in one line what a reader stumbled over, and where."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    told = " ".join(f"{type(error).__name__}: {error}".encode(errors="backslashreplace").decode().split())
    return f"{told[:300]} ({Path(last.filename).name}, line {last.lineno})"


@contextlib.contextmanager
def strange(what: object) -> Iterator[None]:
    """Turn whatever a stranger's bytes raise inside the block into BadInput: `what` cannot be read, and why."""
    try:
        yield
    except BadInput:
        raise
    except Exception as error:
        raise BadInput(f"{what}: cannot be read: {unforeseen(error)}; is it whole?") from None


class Parser(argparse.ArgumentParser):
    """Reads a command line; what is wrong with it is one line like every other fault, not argparse's own text."""

    def error(self, message: str) -> NoReturn:
        """Raises BadInput."""
        raise BadInput(f"{self.prog}: {message}; what may be given: {self.prog} --help")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            what = action.option_strings[0] if action.option_strings else action.metavar or action.dest
            near = nearest(str(value), known) or f"; known: {', '.join(known)}"
            raise argparse.ArgumentError(None, f"unknown {what} {value!r}{near}")
