"""POPE: does the model see things that are not there? Yes/no questions about objects, half of them about absent ones.

Its parse rule and metrics are the official script's, quirks included. LLaVA's published number is the mean of the splits'
F1 (variant `f1`, the default); `accuracy` is the share of right answers over all questions. LLaVA's file has 8,910
questions (2,910 random ones), today's three files have 9,000: both are read, `n` says which it was.
Source: POPE `evaluate.py`; LLaVA `eval_pope.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.answers import Texts, in_order
from tinyllava_core.evaluate.questions.questions import (
    SHORT_ANSWER,
    Files,
    Question,
    QuestionId,
    check_unique,
    key,
    read_json_lines,
)
from tinyllava_core.evaluate.score.scoring import Benchmark, Item, Variant, facet_rows, item
from tinyllava_core.evaluate.score.statistics import Floats, Measure, Statistic, mean_measure

SPLITS = ("adversarial", "popular", "random")  # LLaVA's order
_SAYS_YES = re.compile(r"\byes\b", re.IGNORECASE)


def read(files: Files) -> list[Question]:
    """Read one file of JSON lines, or a folder with one file per split (`coco_pope_random.json`, ...).

    A line: question_id, image, text, label (yes or no), and a category where one file holds several splits. The files of
    a folder each count from 1, so the questions are numbered anew over all of them, as LLaVA's file numbers them.
    Raises BadInput on a malformed line, an id that occurs twice, or a label that is neither.
    """
    if not files.annotations.is_dir():
        questions = _read_file(files.annotations, first_id=None)
        check_unique([question.question_id for question in questions], str(files.annotations))
        return questions
    questions = []
    for path in sorted(files.annotations.glob("*.json")):
        questions += _read_file(path, first_id=len(questions) + 1)
    if not questions:
        raise BadInput(
            f"{files.annotations}: no .json file in it; expected coco_pope_random.json and the like, or name one file"
        )
    return questions


def _read_file(path: Path, first_id: int | None) -> list[Question]:
    ending = path.stem.rsplit("_", 1)[-1]
    split = ending if ending in SPLITS else ""
    questions = []
    for place, (number, row) in enumerate(read_json_lines(path)):
        where = f"{path}, line {number}"
        label = key(row, "label", str, where)
        if label not in ("yes", "no"):
            raise BadInput(f"{where}: label = {label!r}; expected yes or no")
        own_id = key(row, "question_id", (int, str), where)
        category = key(row, "category", str, where) if "category" in row else split
        questions.append(
            Question(
                question_id=own_id if first_id is None else first_id + place,
                image=key(row, "image", str, where),
                text=key(row, "text", str, where) + SHORT_ANSWER,
                gold=(label,),
                category=category,
                facets=(category,) if category else (),
            )
        )
    return questions


def own_answers(path: Path, questions: Sequence[Question]) -> dict[QuestionId, str]:
    """Read POPE's own result format, JSON lines of {question, answer}: matched to the questions by their order.

    Raises BadInput where a line's question is not the one that the annotations have in this place.
    """
    rows = read_json_lines(path)
    if len(rows) != len(questions):
        raise BadInput(
            f"{path}: {len(rows)} answers, {len(questions)} questions; POPE's own format goes by order: "
            "expected one line for each question of the same split"
        )
    texts: dict[QuestionId, str] = {}
    for (number, row), question in zip(rows, questions, strict=True):
        where = f"{path}, line {number}"
        asked = question.text.removesuffix(SHORT_ANSWER)
        if "question" in row and row["question"].removesuffix(SHORT_ANSWER) != asked:
            raise BadInput(f"{where}: question = {row['question']!r}; the annotations have {asked!r} in this place")
        texts[question.question_id] = key(row, "answer", str, where)
    return texts


def parse(answer: str) -> str:
    """Read an answer -> yes or no: no, if one of the pieces between single spaces of the first sentence is No, not or no.

    Case counts, only commas are deleted, and everything else is a yes: `NO`, `No!`, `None`, nothing at all.
    """
    words = answer.split(".", 1)[0].replace(",", "").split(" ")
    return "no" if any(word in ("No", "not", "no") for word in words) else "yes"


def mark(questions: Sequence[Question], answers: Texts) -> list[Item]:
    """Read every answer. Unparsed: a yes only because the rule says so, with no word yes in it."""
    items = []
    for question, text in zip(questions, in_order(questions, answers), strict=True):
        said = parse(text)
        unparsed = said == "yes" and not _SAYS_YES.search(text)
        items.append(item(question, said, float(said == question.gold[0]), unparsed=unparsed))
    return items


def measures(headline: str) -> Callable[[Sequence[Item]], list[Measure]]:
    """Make the measures: pooled and of each split accuracy, precision, recall, F1 and the share of yes; `headline` first.

    Precision, recall and F1 are of the yes; without any yes said (the official script then divides by zero) they are 0.
    """

    def measure(items: Sequence[Item]) -> list[Measure]:
        confused_IC = np.array([_confused(one) for one in items])
        splits = facet_rows(items)
        found = [_mean_f1(confused_IC, list(splits.values()) or [list(range(len(items)))])]
        for prefix, rows in [("", list(range(len(items)))), *((f"{name}.", rows) for name, rows in splits.items())]:
            found.append(mean_measure(f"{prefix}accuracy", [one.score for one in items], rows))
            found += [
                Measure(name=prefix + name, rows_I=np.array(rows), columns_IC=confused_IC[rows], statistic=statistic)
                for name, statistic in _STATISTICS.items()
            ]
        found.sort(key=lambda one: one.name != headline)
        return found

    return measure


def _confused(one: Item) -> tuple[float, float, float, float]:
    """Give one answer's true positive, false positive, true negative, false negative."""
    yes, right = one.parsed == "yes", one.score == 1
    return float(yes and right), float(yes and not right), float(not yes and right), float(not yes and not right)


def _mean_f1(confused_IC: Floats, rows_of_splits: list[list[int]]) -> Measure:
    columns_IC = np.zeros((len(confused_IC), 4 * len(rows_of_splits)))
    for place, rows in enumerate(rows_of_splits):
        columns_IC[rows, 4 * place : 4 * place + 4] = confused_IC[rows]

    def statistic(sums_RC: Floats) -> Floats:
        return np.mean([_f1(sums_RC[:, start : start + 4]) for start in range(0, sums_RC.shape[1], 4)], axis=0)

    return Measure(name="mean_f1", rows_I=np.arange(len(confused_IC)), columns_IC=columns_IC, statistic=statistic)


def _f1(sums_RC: Floats) -> Floats:
    """2 TP / (2 TP + FP + FN): the harmonic mean of precision and recall, 0 where both are 0."""
    return _share(2 * sums_RC[:, 0], 2 * sums_RC[:, 0] + sums_RC[:, 1] + sums_RC[:, 3])


def _precision(sums_RC: Floats) -> Floats:
    return _share(sums_RC[:, 0], sums_RC[:, 0] + sums_RC[:, 1])


def _recall(sums_RC: Floats) -> Floats:
    return _share(sums_RC[:, 0], sums_RC[:, 0] + sums_RC[:, 3])


def _yes_ratio(sums_RC: Floats) -> Floats:
    return _share(sums_RC[:, 0] + sums_RC[:, 1], sums_RC.sum(axis=1))


def _share(part_R: Floats, whole_R: Floats) -> Floats:
    return 100 * part_R / np.maximum(whole_R, 1)


_STATISTICS: dict[str, Statistic] = {"precision": _precision, "recall": _recall, "f1": _f1, "yes_ratio": _yes_ratio}

POPE = Benchmark(
    name="pope",
    variants={
        "f1": Variant(
            meaning="mean over the splits of F1, LLaVA's number", read=read, mark=mark, measures=measures("mean_f1")
        ),
        "accuracy": Variant(meaning="accuracy over all questions", read=read, mark=mark, measures=measures("accuracy")),
    },
    default="f1",
    cluster="image",
    suffix=SHORT_ANSWER,
    own_answers=own_answers,
)
