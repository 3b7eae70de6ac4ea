"""A folder of answer files, one a model, to one benchmark: scored alike, with every pair compared and questions that stand out.

It asks no model and knows no lineage; what it says is laid out by batch_page.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.compare.compare import Difference, compare, holm
from tinyllava_core.evaluate.questions.questions import Files, Question
from tinyllava_core.evaluate.score.benchmarks.rules.vqa_text import normalise_vqa, soft_accuracy
from tinyllava_core.evaluate.score.score_file import Scoring, Told, score_file
from tinyllava_core.evaluate.score.scoring import RIGHT, Benchmark, Variant

KINDS = (".jsonl", ".json", ".xlsx")
_MOST = 40  # models: 780 pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """A question that stands out."""

    question_id: int | str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """All models' scores of one benchmark, best first."""

    benchmark: str
    variant: str
    told: Mapping[str, Told]  # by the model's name: its file's
    pairs: Sequence[tuple[str, str, Difference]]
    flags: Sequence[Flag]


def score_batch(todo: Scoring, blind: Path | None = None) -> Batch:
    """Score every answer file of the folder `todo.answers`. `blind`: one model's answers without the pictures.

    Raises BadInput on the first file that does not fit, or where two were asked differently in kind.
    """
    told = {path.stem: _one(todo, path) for path in _files(todo.answers)}
    variants = {one.result.variant for one in told.values()}
    if len(variants) > 1:
        raise BadInput(f"{todo.answers}: answers to variants {', '.join(sorted(variants))}; put one kind into a folder")
    name = variants.pop()
    row = todo.benchmark.variant(name)
    order = sorted(told, key=lambda model: told[model].scored.score, reverse=not row.lower_is_better)
    told = {model: told[model] for model in order}
    seen = _one(todo, blind) if blind is not None else None
    questions = row.read(Files(annotations=todo.annotations, questions=todo.questions, asking=False))
    return Batch(
        benchmark=todo.benchmark.name,
        variant=name,
        told=told,
        pairs=_pairs(todo.benchmark, row, told),
        flags=flags(questions, told, seen),
    )


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder; expected one with an answer file for each model")
    found = sorted(path for path in folder.iterdir() if path.suffix in KINDS and not path.name.startswith("."))
    stems = Counter(path.stem for path in found)
    twice = [stem for stem, times in stems.items() if times > 1]
    if twice:
        raise BadInput(f"{folder}: several files named {twice[0]}; a file's name is its model's: keep one")
    if not 1 <= len(found) <= _MOST:
        kinds = ", ".join(f"*{kind}" for kind in KINDS)
        raise BadInput(f"{folder}: {len(found)} answer files ({kinds}); expected 1 to {_MOST}")
    return found


def _one(todo: Scoring, path: Path) -> Told:
    return score_file(
        Scoring(
            benchmark=todo.benchmark,
            variant=todo.variant,
            answers=path,
            annotations=todo.annotations,
            questions=todo.questions,
            missing_allowed=todo.missing_allowed,
        )
    )


def _pairs(benchmark: Benchmark, row: Variant, told: Mapping[str, Told]) -> list[tuple[str, str, Difference]]:
    """Compare every pair, the lower-ranked first, and correct for their number."""
    names = list(combinations(told, 2))
    found = holm(
        [compare(benchmark.name, row, told[worse].scored.items, told[better].scored.items) for better, worse in names]
    )
    return [(worse, better, one) for (better, worse), one in zip(names, found, strict=True)]


def flags(questions: Sequence[Question], told: Mapping[str, Told], blind: Told | None = None) -> list[Flag]:
    """Find the questions that stand out.

    Answered rightly without the picture; answered wrongly by every model (three or more): hard, or its own right answer is
    wrong; and with people's answers so contradictory that none can score in full.
    """
    right: dict[int | str, int] = {}
    for one in told.values():
        for item in one.scored.items:
            right[item.question_id] = right.get(item.question_id, 0) + (item.score >= RIGHT)
    unseen = {item.question_id for item in blind.scored.items if item.score >= RIGHT} if blind else set()
    found = []
    for question in questions:
        name = question.question_id
        if name in unseen:
            found.append(Flag(question_id=name, why="right without the picture"))
        if len(told) >= 3 and right.get(name) == 0:
            found.append(Flag(question_id=name, why="wrong by every model"))
        if contradictory(question.gold):
            found.append(Flag(question_id=name, why="no answer that enough people gave"))
    return found


def contradictory(people: Sequence[str]) -> bool:
    """Tell whether ten people's answers differ so much that the best one scores less than in full."""
    if len(people) < 10:
        return False
    most = Counter(map(normalise_vqa, people)).most_common(1)[0][1]
    return soft_accuracy(most, len(people)) < 1
