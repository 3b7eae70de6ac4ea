"""Answers as they lie on the disk: LLaVA's layout, or a benchmark's own result format. It scores nothing.

An answer file must fit the questions exactly: each question once, no other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.questions import Question, QuestionId, key, read_json_lines, shown

Texts = Mapping[QuestionId, str]
# (the file's id, the file's prompt, where it stands) -> the question's id
Join = Callable[[QuestionId, str, str], QuestionId]
_MAX_DIGITS = 19  # of an id written as text
OwnAnswers = Callable[[Path, Sequence[Question]], dict[QuestionId, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The answers of one file."""

    texts: dict[QuestionId, str]  # question id -> what the model said
    prompts: dict[QuestionId, str]  # question id -> what it was asked; empty where the file does not say


def in_order(questions: Sequence[Question], answers: Texts, *, missing_allowed: bool = False) -> list[str]:
    """Give each question's answer. Raises BadInput unless there is one for every question and none for any other."""
    check_complete([question.question_id for question in questions], answers, missing_allowed=missing_allowed)
    return [answers[question.question_id] for question in questions if question.question_id in answers]


def check_complete(question_ids: Sequence[QuestionId], answers: Texts, *, missing_allowed: bool = False) -> None:
    """Raises BadInput, with how many and the first, on questions without an answer or answers to no question."""
    known = set(question_ids)
    missing = [question_id for question_id in question_ids if question_id not in answers]
    foreign = [question_id for question_id in answers if question_id not in known]
    if foreign:
        all_of_them = f"; {len(missing)} of {len(known)} questions have none" if missing else ""
        raise BadInput(
            f"answers: {len(foreign)} of {len(answers)} are to no question of the annotations (the first: question_id "
            f"{foreign[0]!r:.200}{all_of_them}); is it the same split?"
        )
    if missing and not missing_allowed:
        raise BadInput(
            f"answers: {len(missing)} of {len(known)} questions have none (the first: question_id {missing[0]!r:.200}); "
            "expected one per question of the annotations: is it the same split?"
        )


def read_answers(path: Path, join: Join | None = None) -> dict[QuestionId, str]:
    """Read an answer file in LLaVA's layout (JSON lines with question_id and text) -> question id -> text.

    Raises BadInput on a malformed line (which one) or an id that occurs twice.
    """
    return read_llava(path, join).texts


def read_llava(path: Path, join: Join | None = None, questions: Sequence[Question] = (), suffix: str = "") -> Answers:
    """Read an answer file in LLaVA's layout, with its prompts. `join` says whose answer a line is, where ids do not.

    `questions`: with them an id may be written as text or as number, and a prompt must be about the question that it
    answers; `suffix`: what that adds to each of them. Raises BadInput on a line that does not fit, with its number.
    """
    known = {question.question_id: question for question in questions}
    texts: dict[QuestionId, str] = {}
    prompts: dict[QuestionId, str] = {}
    first_seen: dict[QuestionId, int] = {}
    for number, row in read_json_lines(path):
        where = f"{path}, line {number}"
        question_id, prompt = own_id(row, where), row.get("prompt")
        if join is not None:
            question_id = join(question_id, prompt if isinstance(prompt, str) else "", where)
        if known and question_id not in known:
            question_id = _other_form(question_id, known)
        if question_id in texts:
            raise BadInput(
                f"{where}: question_id {question_id!r} occurs twice (first: line {first_seen[question_id]}); keep one"
            )
        texts[question_id], first_seen[question_id] = key(row, "text", str, where), number
        if isinstance(prompt, str):
            prompts[question_id] = prompt
            if question_id in known:
                _check_asked(known[question_id], prompt, suffix, where)
    return Answers(texts=texts, prompts=prompts if len(prompts) == len(texts) else {})


def own_id(row: Mapping[str, Any], where: str) -> QuestionId:
    """Give the id of a line's question: ours, where the line has LLaVA's beside it, which may not be unique."""
    metadata = row.get("metadata")
    mine = metadata.get("question_id") if isinstance(metadata, dict) else None
    if isinstance(mine, int | str):
        return mine
    question_id: QuestionId = key(row, "question_id", (int, str), where)
    return question_id


def _other_form(question_id: QuestionId, known: Mapping[QuestionId, Question]) -> QuestionId:
    """Give a number as text, or a text as number, if that is the id of a question."""
    other: QuestionId = str(question_id)
    if isinstance(question_id, str) and question_id.isdecimal() and len(question_id) < _MAX_DIGITS:
        other = int(question_id)
    return other if other in known else question_id


def _check_asked(question: Question, prompt: str, suffix: str, where: str) -> None:
    """Raises BadInput unless the prompt holds the question, whatever stands around it."""
    asked = question.stem or question.text.removesuffix(suffix)
    if asked in prompt or _flat(asked) in _flat(prompt):
        return
    raise BadInput(
        f"{where}: question_id {question.question_id!r} is the answer to {shown(prompt)}, but the annotations ask "
        f"{shown(asked)} under this id; is it the same split, numbered alike?"
    )


def _flat(text: str) -> str:
    return " ".join(text.lower().split())


def is_llava(path: Path) -> bool:
    """Tell whether a file's first line looks like LLaVA's layout, whatever may be wrong with it later."""
    if path.is_dir() or path.suffix in (".xlsx", ".tsv"):
        return False
    try:
        with path.open(encoding="utf-8") as file:
            start = file.read(1)
            while start and start.isspace():
                start = file.read(1)
            if start != "{":
                return start != "["
            first = start + file.readline()
        row = json.loads(first)
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: byte {error.start} is not UTF-8; expected a text file") from None
    except (ValueError, RecursionError):  # whoever reads it all says what is wrong, and where
        return '"question_id"' in first
    return "question_id" in row


def read_pairs(rows: Iterable[object], id_name: str, text_name: str, path: Path) -> dict[QuestionId, str]:
    """Read a list of {id, text} objects, as VQA, GQA and TextVQA take them. Raises BadInput with the place of a fault."""
    texts: dict[QuestionId, str] = {}
    for place, row in enumerate(rows):
        where = f"{path}, [{place}]"
        if not isinstance(row, dict):
            raise BadInput(
                f"{where}: found a JSON {type(row).__name__}; expected an object with {id_name}, {text_name}"
            )
        question_id = key(row, id_name, (int, str), where)
        if question_id in texts:
            raise BadInput(f"{where}: {id_name} {question_id!r} occurs twice; keep one")
        texts[question_id] = key(row, text_name, str, where)
    return texts


def prompt_sha256(questions: Sequence[Question], prompts: Mapping[QuestionId, str]) -> str | None:
    """Hash what was asked, in the order of the questions: equal for two answer files only if the prompts were. None: unknown."""
    if not prompts:
        return None
    digest = hashlib.sha256()
    for question in questions:
        digest.update(json.dumps([question.question_id, prompts.get(question.question_id)]).encode())
    return digest.hexdigest()
