"""Under which condition a model is asked: pictures as they are, blanked, or corrupted. One word names it everywhere.

`seen`, `blind`, or a corruption with its severity: `blur-3`. The corruptions themselves are in corrupt.py. No torch here.
"""

from __future__ import annotations

from dataclasses import dataclass

from tinyllava_core.errors import BadInput, unknown

SEEN, BLIND = "seen", "blind"
CORRUPTIONS = ("blur", "noise", "jpeg", "rotate", "crop")
SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What is done to every picture before the model sees it."""

    blind: bool = False  # blanked
    corruption: str | None = None
    severity: int | None = None  # 1 (hardly seen) to 5; only with a corruption

    @property
    def word(self) -> str:
        """Name the condition."""
        if self.corruption is not None:
            return f"{self.corruption}-{self.severity}"
        return BLIND if self.blind else SEEN


AS_IT_IS = Condition()


def condition(word: str) -> Condition:
    """Read a condition's word. Raises BadInput on one that there is not, with the nearest."""
    known = (SEEN, BLIND, *corrupted())
    if word not in known:
        raise unknown("condition", word, known)
    if word in (SEEN, BLIND):
        return Condition(blind=word == BLIND)
    corruption, _, severity = word.partition("-")
    return Condition(corruption=corruption, severity=int(severity))


def corrupted() -> tuple[str, ...]:
    """List the words of all corruptions at all severities."""
    return tuple(f"{corruption}-{severity}" for corruption in CORRUPTIONS for severity in SEVERITIES)


def titled(benchmark: str, word: str) -> str:
    """Name one evaluation in a line of text: the benchmark, and the condition unless it is the usual one."""
    return benchmark if word == SEEN else f"{benchmark} {word}"


def check_robustness(words: tuple[str, ...]) -> None:
    """Raises BadInput on a word that names no corruption, or on one that stands there twice."""
    for word in words:
        if word not in corrupted():
            raise unknown("corruption", word, corrupted())
    if len(set(words)) != len(words):
        raise BadInput(f"robustness: {', '.join(words)}: one of them stands there twice")
