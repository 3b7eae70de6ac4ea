"""A benchmark as values: its questions, its row in the table, its score; and how its official files are read strictly.

Not the rules of any one benchmark (`benchmarks/<name>.py`), and nothing that answers (`answer.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tinyllava_core.data.places import ImagePlaces
from tinyllava_core.errors import BadInput

QuestionId = int | str
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question of a benchmark, as the model is asked it."""

    question_id: QuestionId  # unique within the benchmark, of the official file's own type
    image: str | None  # as the official file names it; None: a question without a picture
    text: str  # with the suffix, without the prompt format: LLaVA's `text`
    gold: tuple[str, ...]  # what the official file says is right: one label, ten humans, ...
    category: str = ""

    @property
    def cluster(self) -> str:
        """Name what this question shares with others, so that their scores are not independent: its image."""
        return self.image if self.image is not None else f"question {self.question_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One answer, scored."""

    question_id: QuestionId
    image: str | None
    parsed: str  # what the rule read in the answer
    score: float  # 0..1


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A benchmark's score of one set of answers."""

    metric: str  # name of the headline metric
    score: float  # percent
    stderr: float  # percent, of the headline metric
    subscores: dict[str, float] = field(default_factory=dict)  # percent
    items: tuple[Item, ...]  # in the order of the questions
    num_unparsed: int  # answers that the rule could make nothing of; each benchmark says what that means


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A row of the table in `benchmarks/__init__.py`."""

    name: str
    read: Callable[[Path, ImagePlaces], list[Question]]  # (annotations, images); the images need not be there
    score: Callable[[Sequence[Question], Mapping[QuestionId, str]], Scored]  # answers: question id -> text
    max_new_tokens: int = 128  # Source: LLaVA's runner of the short-answer benchmarks
    suffix: str = ""  # what `read` adds to each question


def in_order(questions: Sequence[Question], answers: Mapping[QuestionId, str]) -> list[str]:
    """Give each question's answer. Raises BadInput unless there is one for every question and none for any other."""
    known = {question.question_id for question in questions}
    missing = [question.question_id for question in questions if question.question_id not in answers]
    foreign = [question_id for question_id in answers if question_id not in known]
    if missing:
        raise BadInput(
            f"answers: {len(missing)} of {len(questions)} questions have none (the first: question_id {missing[0]!r}); "
            "expected one per question of the annotations: is it the same split?"
        )
    if foreign:
        raise BadInput(
            f"answers: {len(foreign)} are to no question of the annotations (the first: question_id {foreign[0]!r}); "
            "is it the same split?"
        )
    return [answers[question.question_id] for question in questions]


def read_answers(path: Path) -> dict[QuestionId, str]:
    """Read an answer file in LLaVA's layout (JSON lines with question_id and text) -> question id -> text.

    Raises BadInput on a malformed line (which one) or an id that occurs twice.
    """
    answers: dict[QuestionId, str] = {}
    first_seen: dict[QuestionId, int] = {}
    for number, row in read_json_lines(path):
        where = f"{path}, line {number}"
        question_id = key(row, "question_id", (int, str), where)
        if question_id in answers:
            raise BadInput(
                f"{where}: question_id {question_id!r} occurs twice (first: line {first_seen[question_id]}); keep one"
            )
        answers[question_id], first_seen[question_id] = key(row, "text", str, where), number
    return answers


def check_unique(question_ids: Collection[QuestionId], where: str) -> None:
    """Raises BadInput, with the first of them, if an id occurs twice."""
    seen: set[QuestionId] = set()
    for question_id in question_ids:
        if question_id in seen:
            raise BadInput(f"{where}: question_id {question_id!r} occurs twice; answers could not be told apart")
        seen.add(question_id)


def check_images(questions: Sequence[Question], images: ImagePlaces) -> None:
    """Raises BadInput, with how many and the first, if pictures that the questions ask about are not on this disk."""
    named = list(dict.fromkeys(question.image for question in questions if question.image is not None))
    missing = [image for image in named if images.find(image) is None]
    if missing:
        raise BadInput(
            f"{images.told()}: {len(missing)} of {len(named)} pictures of the benchmark are not there (the first: {missing[0]}); "
            "download them again: a score without them would be another benchmark's"
        )


def read_json(path: Path) -> Any:
    """Read one JSON file. Raises BadInput with the line of what is not JSON."""
    try:
        return json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise BadInput(
            f"{path}, line {error.lineno}: not JSON: {error.msg}; expected one JSON value in the whole file"
        ) from None


def read_json_lines(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Read a file of one JSON object a line -> (line number from 1, object). Raises BadInput with the line that is none."""
    rows: list[tuple[int, dict[str, Any]]] = []
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise BadInput(f"{path}, line {number}: not JSON: {error.msg}; expected one JSON object per line") from None
        if not isinstance(row, dict):
            raise BadInput(
                f"{path}, line {number}: found a JSON {type(row).__name__}; expected one JSON object per line"
            )
        rows.append((number, row))
    if not rows:
        raise BadInput(f"{path}: the file is empty; expected one JSON object per line")
    return rows


def key(row: Mapping[str, Any], name: str, kind: type[T] | tuple[type[T], ...], where: str) -> Any:
    """Give `row[name]`. Raises BadInput if it is missing or not of `kind`."""
    if name not in row:
        raise BadInput(f"{where}: key {name!r} is missing; found: {', '.join(map(str, row)) or 'nothing'}")
    value = row[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        names = " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))
        raise BadInput(f"{where}: {name} = {value!r}; expected {names}")
    return value


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError):
        raise BadInput(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: byte {error.start} is not UTF-8; expected a text file") from None
