"""ScienceQA: school questions with two to five options, about half of them with a picture; the test split.

LLaVA's and TinyLLaVA's tables quote the accuracy over the 2,017 questions with a picture (variant `img`, the default);
`all` is over all 4,241. A missing answer is wrong in `all` and in neither part of `img`: that is the official counting.
Source: ScienceQA `evaluate_acc.py`; LLaVA `eval_science_qa.py`, `model_vqa_science.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.answers import Texts
from tinyllava_core.evaluate.questions.questions import (
    OPTION_LETTER,
    Files,
    Question,
    check_unique,
    key,
    official,
    picture_finder,
    read_json,
    rows_of,
    texts_of,
)
from tinyllava_core.evaluate.score.scoring import Benchmark, Item, Variant, facet_rows, item
from tinyllava_core.evaluate.score.statistics import Measure, mean_measure

_EXPECTED = "ScienceQA's {pid: {question, choices, answer, ...}}; use problems.json"
LETTERS = "ABCDE"
FAILED = "FAILED"
WITH_PICTURE = "img"
_SENTENCE = re.compile(
    r"The answer is ([A-Z])."
)  # the last is any character: a sentence that ends at the letter has none
_SUBJECTS = {"natural science": "NAT", "social science": "SOC", "language science": "LAN"}


def read(files: Files) -> list[Question]:
    """Read `problems.json`, and from `pid_splits.json` which of them are the test split.

    The splits file stands beside the problems (a folder, or `files.questions`); without it, the problems' own `split` is
    taken. Raises BadInput on another shape.
    """
    path = official(files.annotations, "problems.json")
    whole = rows_of(read_json(path), path, _EXPECTED)
    if not all("choices" in row for row in whole.values()):
        raise BadInput(f"{path}: expected {_EXPECTED}")
    image = picture_finder(files.images, ("", "test/", "images/test/"), ("",))
    questions = [_question(pid, whole[pid], f"{path}, problem {pid}", image) for pid in _test_ids(files, whole)]
    if not questions:
        raise BadInput(f"{path}: no problem of the test split in it")
    return questions


def _test_ids(files: Files, whole: Mapping[str, Mapping[str, Any]]) -> list[str]:
    beside = files.annotations if files.annotations.is_dir() else files.annotations.parent
    splits = files.questions or beside / "pid_splits.json"
    if not splits.is_file() and files.questions is None:
        return [pid for pid, row in whole.items() if row.get("split", "test") == "test"]
    told = read_json(splits)
    if not isinstance(told, dict) or not isinstance(told.get("test"), list):
        raise BadInput(f"{splits}: expected ScienceQA's {{'test': [pid, ...], ...}}; use pid_splits.json")
    texts_of(told, "test", str(splits))
    check_unique(told["test"], str(splits))
    unknown = [pid for pid in told["test"] if pid not in whole]
    if unknown:
        raise BadInput(
            f"{splits}: {len(unknown)} of the test split are not in problems.json (the first: {unknown[0]!r})"
        )
    return list(told["test"])


def _question(pid: str, row: Mapping[str, Any], where: str, image: Callable[[str], str]) -> Question:
    choices = texts_of(row, "choices", where)
    answer = key(row, "answer", int, where)
    if not 2 <= len(choices) <= len(LETTERS) or not 0 <= answer < len(choices):
        raise BadInput(f"{where}: answer = {answer} of {len(choices)} choices; expected 2 to 5, and one of them")
    hint, name = (key(row, one, str, where) if row.get(one) else "" for one in ("hint", "image"))
    asked = key(row, "question", str, where)
    lines = [f"Context: {hint}"] if hint else []
    lines += [asked]
    lines += [f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False)]
    text = "\n".join(lines) + OPTION_LETTER
    return Question(
        question_id=pid,
        image=image(f"{pid}/{name}") if name else None,
        text=text,
        stem=asked,
        llava_prompt=f"<image>\n{text}" if name else text,  # LLaVA's script tells a question with a picture by it
        gold=(LETTERS[answer],),
        choices=choices,
        facets=_facets(row, hint, name),
    )


def _facets(row: Mapping[str, Any], hint: str, name: str) -> tuple[str, ...]:
    """Name the official breakdown's groups: subject, kind of context, grades."""
    subject = _SUBJECTS.get(str(row.get("subject")))
    found = [f"subject.{subject}"] if subject else []
    found += ["context.text"] if hint else []
    found += ["context.image"] if name else []
    found += ["context.none"] if not hint and not name else []
    grade = str(row.get("grade", "")).removeprefix("grade")
    found += ["grade.1-6" if int(grade) <= 6 else "grade.7-12"] if grade.isdecimal() and len(grade) < 3 else []
    return tuple(found)


def parse(text: str) -> str:
    """Read an answer -> a letter or FAILED.

    `A`; or `A. ` and anything after it; or exactly one "The answer is A" with one more character behind. Nothing else:
    `A.`, `(A)`, `A)`, `a`, `Answer: A` all fail.
    """
    if len(text) == 1 and text in LETTERS:
        return text
    if len(text) >= 3 and text[0] in LETTERS and text[1:3] == ". ":
        return text[0]
    found = _SENTENCE.findall(text)
    return found[0] if len(found) == 1 else FAILED


def mark(questions: Sequence[Question], answers: Texts) -> list[Item]:
    """Read every answer; a letter beyond the choices is wrong. Unparsed: FAILED, or missing."""
    items = []
    for question in questions:
        given = question.question_id in answers
        parsed = parse(answers[question.question_id]) if given else FAILED
        right = parsed == question.gold[0]
        made = item(question, parsed, float(right), unparsed=parsed == FAILED)
        if given and question.image is not None:
            made = replace(made, facets=(WITH_PICTURE, *made.facets))
        items.append(made)
    return items


def measures(headline: str) -> Callable[[Sequence[Item]], list[Measure]]:
    """Make the measures: accuracy over all and over the questions with a picture, and the official breakdown."""

    def measure(items: Sequence[Item]) -> list[Measure]:
        values, rows = [one.score for one in items], facet_rows(items)
        pictures = mean_measure("img_accuracy", values, rows.pop(WITH_PICTURE, []))
        found = [mean_measure("accuracy", values), pictures]
        found += [mean_measure(name, values, mine) for name, mine in rows.items()]
        if headline == "img_accuracy" and not len(pictures.rows_I):
            raise BadInput("scienceqa: no answered question has a picture, which is what variant img counts; use all")
        return sorted((one for one in found if len(one.rows_I)), key=lambda one: one.name != headline)

    return measure


SCIENCEQA = Benchmark(
    name="scienceqa",
    variants={
        "img": Variant(
            meaning="accuracy over the questions with a picture, as LLaVA's tables have it",
            read=read,
            mark=mark,
            measures=measures("img_accuracy"),
        ),
        "all": Variant(
            meaning="accuracy over all questions of the test split", read=read, mark=mark, measures=measures("accuracy")
        ),
    },
    default="img",
    cluster="question",
    max_new_tokens=1024,  # Source: LLaVA `model_vqa_science.py`
    suffix=OPTION_LETTER,
    missing_allowed=True,
)
