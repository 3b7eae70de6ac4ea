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
from tinyllava_core.evaluate.questions.answers import Join, Texts, in_order
from tinyllava_core.evaluate.questions.questions import (
    SHORT_ANSWER,
    Files,
    Question,
    QuestionId,
    check_unique,
    key,
    read_json_lines,
    shown,
)
from tinyllava_core.evaluate.score.scoring import Benchmark, Item, Variant, facet_rows, item
from tinyllava_core.evaluate.score.statistics import Floats, Measure, Statistic, f1, mean_measure, share

SPLITS = ("adversarial", "popular", "random")
_OFFSETS = {"random": 10_000_000, "popular": 20_000_000}  # of ids. Source: LLaVA's `llava_pope_test.jsonl`
_SAYS_YES = re.compile(r"\byes\b", re.IGNORECASE)


def read(files: Files) -> list[Question]:
    """Read one file of JSON lines, or a folder with one file per split (`coco_pope_random.json`, ...).

    A line: question_id, image, text, label (yes or no), and a category where one file holds several splits. The files of
    a folder each count from 1; LLaVA's question file keeps that for the adversarial split and adds ten million for the
    random one, twenty for the popular one, and so do we. `files.questions`: a question file in LLaVA's layout, whose ids
    and order are taken instead; the labels are found by category, picture and wording.
    Raises BadInput on a malformed line, an id that occurs twice, or a label that is neither.
    """
    if files.annotations.is_dir():
        paths = sorted(files.annotations.glob("*.json"), key=lambda path: (_OFFSETS.get(_split(path), 0), path.name))
        if not paths:
            raise BadInput(
                f"{files.annotations}: no .json file in it; expected coco_pope_random.json and the like, or name one file"
            )
        questions = [question for path in paths for question in _read_file(path, offset=_OFFSETS.get(_split(path), 0))]
    else:
        questions = _read_file(files.annotations, offset=0)
    if files.questions is not None:
        questions = _as_asked(files.questions, questions)
    check_unique([question.question_id for question in questions], str(files.annotations))
    return questions


def _split(path: Path) -> str:
    ending = path.stem.rsplit("_", 1)[-1]
    return ending if ending in SPLITS else ""


def _read_file(path: Path, offset: int) -> list[Question]:
    questions = []
    for number, row in read_json_lines(path):
        where = f"{path}, line {number}"
        label = key(row, "label", str, where)
        if label not in ("yes", "no"):
            raise BadInput(f"{where}: label = {shown(label)}; expected yes or no")
        question_id = key(row, "question_id", (int, str), where)
        category = key(row, "category", str, where) if "category" in row else _split(path)
        questions.append(
            Question(
                question_id=question_id + offset if isinstance(question_id, int) else question_id,
                image=key(row, "image", str, where),
                text=key(row, "text", str, where) + SHORT_ANSWER,
                gold=(label,),
                category=category,
                facets=(category,) if category else (),
            )
        )
    return questions


def _as_asked(path: Path, labelled: Sequence[Question]) -> list[Question]:
    """Give LLaVA's questions, with the labels of `labelled`. Raises BadInput where there is none, or two that differ."""
    labels: dict[tuple[str, str | None, str], set[str]] = {}
    for question in labelled:
        labels.setdefault((question.category, question.image, question.text), set()).add(question.gold[0])
    asked = []
    for number, row in read_json_lines(path):
        where = f"{path}, line {number}"
        category = key(row, "category", str, where) if "category" in row else ""
        text = key(row, "text", str, where).removesuffix(SHORT_ANSWER) + SHORT_ANSWER
        image = key(row, "image", str, where)
        found = labels.get((category, image, text), set())
        if len(found) != 1:
            raise BadInput(
                f"{where}: {len(found)} labels for {shown(text.removesuffix(SHORT_ANSWER))} about {image} in "
                f"{category or 'the annotations'}; expected one: are they of the same release?"
            )
        asked.append(
            Question(
                question_id=key(row, "question_id", (int, str), where),
                image=image,
                text=text,
                gold=(*found,),
                category=category,
                facets=(category,) if category else (),
            )
        )
    return asked


def join(questions: Sequence[Question]) -> Join:
    """Match by id; where one split is scored alone, LLaVA's ids of it too."""
    known = {question.question_id for question in questions}
    offsets = {_OFFSETS.get(question.category, 0) for question in questions}

    def find(question_id: QuestionId, prompt: str, where: str) -> QuestionId:
        if question_id in known or len(offsets) != 1 or not isinstance(question_id, int):
            return question_id
        inside = question_id - next(iter(offsets))
        return inside if inside in known else question_id

    return find


def own_answers(path: Path, questions: Sequence[Question]) -> dict[QuestionId, str]:
    """Read POPE's own result format, JSON lines of {question, answer}: matched to the questions by their order.

    Raises BadInput where a line's question is not the one that the annotations have in this place.
    """
    rows = list(read_json_lines(path))
    if len(rows) != len(questions):
        raise BadInput(
            f"{path}: {len(rows)} answers, {len(questions)} questions; POPE's own format goes by order: "
            "expected one line for each question of the same split"
        )
    texts: dict[QuestionId, str] = {}
    for (number, row), question in zip(rows, questions, strict=True):
        where = f"{path}, line {number}"
        asked = question.text.removesuffix(SHORT_ANSWER)
        if "question" in row and key(row, "question", str, where).removesuffix(SHORT_ANSWER) != asked:
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
        return np.mean([f1(sums_RC[:, start : start + 4]) for start in range(0, sums_RC.shape[1], 4)], axis=0)

    return Measure(name="mean_f1", rows_I=np.arange(len(confused_IC)), columns_IC=columns_IC, statistic=statistic)


def _precision(sums_RC: Floats) -> Floats:
    return share(sums_RC[:, 0], sums_RC[:, 0] + sums_RC[:, 1])


def _recall(sums_RC: Floats) -> Floats:
    return share(sums_RC[:, 0], sums_RC[:, 0] + sums_RC[:, 3])


def _yes_ratio(sums_RC: Floats) -> Floats:
    return share(sums_RC[:, 0] + sums_RC[:, 1], sums_RC.sum(axis=1))


_STATISTICS: dict[str, Statistic] = {"precision": _precision, "recall": _recall, "f1": f1, "yes_ratio": _yes_ratio}

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
    join=join,
    own_answers=own_answers,
)
