"""Where two variants' answers differ: how many questions each has right alone, of which kinds, and which sub-scores moved.

It counts; it tests nothing: pairs.py says whether a difference is more than chance, this says where to look for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from tinyllava_core.evaluate.score.scoring import RIGHT
from tinyllava_core.report.answers.collect import Answered, Asked
from tinyllava_core.report.html import plain, signed
from tinyllava_core.settings.condition import SEEN

_NAMED = 2  # kinds and sub-scores in the sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The questions of one kind, or all of them."""

    kind: str  # "": all
    num_questions: int
    first: float  # mean of the items' scores, percent
    other: float
    num_gained: int  # right with the variant alone
    num_lost: int  # right with the first alone

    @property
    def net(self) -> int:
        """Give by how many more questions the variant is right."""
        return self.num_gained - self.num_lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """One variant's answers to one benchmark beside the first's, question by question; of the first training of each."""

    variant: str
    first: str
    benchmark: str
    whole: Group
    kinds: tuple[Group, ...]  # those that moved most first; a question may be of several
    subscores: tuple[tuple[str, float, float], ...]  # name, the first's, the variant's; those that moved most first

    def told(self) -> str:
        """Say it in words."""
        whole = self.whole
        if not whole.num_gained + whole.num_lost:
            return f"Both are right on the same {self.benchmark} questions."
        said = f"“{self.variant}” is right on {_count(whole.num_gained)} that “{self.first}” has wrong, and wrong on {_count(whole.num_lost)} that it has right."
        kinds = [one for one in self.kinds if one.net][:_NAMED]
        if kinds:
            said += (
                f" By kind: {', '.join(f'{one.kind} {_signed(one.net)} of {one.num_questions:,}' for one in kinds)}."
            )
        scores = [(name, other - first) for name, first, other in self.subscores if round(other - first, 1)][:_NAMED]
        if scores:
            said += f" Of the sub-scores: {', '.join(f'{plain(name)} {signed(change)}' for name, change in scores)}."
        return said


def moved(asked: Iterable[Asked], subscores: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[Moved]:
    """Lay every variant's answers beside those of the first, for each benchmark whose answers are scored.

    `subscores`: by variant, benchmark and name. The variants are the runs that `asked` was collected from.
    """
    found = []
    for one in asked:
        first, *others = [given for given in one.answered if given.condition == SEEN]
        for other in others:
            places = [place for place, name in enumerate(one.ids) if _score(first, name) is not None and _score(other, name) is not None]  # fmt: skip
            if places:
                found.append(_moved(one, first, other, places, subscores))
    return found


def _moved(asked: Asked, first: Answered, other: Answered, places: Sequence[int], subscores: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Moved:  # fmt: skip
    by_kind: dict[str, list[int]] = {}
    for place in places:
        for kind in asked.kinds[place]:
            by_kind.setdefault(kind, []).append(place)
    kinds = [_group(kind, mine, asked, first, other) for kind, mine in by_kind.items()]
    mine, theirs = (subscores.get(run.run, {}).get(asked.name, {}) for run in (first, other))
    scores = [(name, mine[name], theirs[name]) for name in mine if name in theirs]
    return Moved(
        variant=other.run,
        first=first.run,
        benchmark=asked.name,
        whole=_group("", places, asked, first, other),
        kinds=tuple(sorted(kinds, key=lambda one: (-abs(one.net), -one.num_questions))),
        subscores=tuple(sorted(scores, key=lambda one: -abs(one[2] - one[1]))),
    )


def _group(kind: str, places: Sequence[int], asked: Asked, first: Answered, other: Answered) -> Group:
    pairs = [(_score(first, asked.ids[place]) or 0.0, _score(other, asked.ids[place]) or 0.0) for place in places]
    return Group(
        kind=kind,
        num_questions=len(places),
        first=100 * fmean(one for one, _ in pairs),
        other=100 * fmean(one for _, one in pairs),
        num_gained=sum(one < RIGHT <= two for one, two in pairs),
        num_lost=sum(two < RIGHT <= one for one, two in pairs),
    )


def _score(given: Answered, question: object) -> float | None:
    score: float | None = given.rows.get(question, {}).get("score")  # type: ignore[call-overload]
    return score


def _signed(number: int) -> str:
    return f"{number:+,d}".replace("-", "−")


def _count(number: int) -> str:
    return "1 question" if number == 1 else f"{number:,} questions"
