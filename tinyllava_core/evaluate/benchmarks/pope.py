"""POPE: does the model see things that are not there? Yes/no questions about objects, half of them about absent ones.

Its parse rule and metrics are the official script's, quirks included; the headline is the accuracy over all questions,
while LLaVA's published number is `mean_f1` in the subscores. Source: POPE `evaluate.py`; LLaVA `eval_pope.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tinyllava_core.data.places import ImagePlaces
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate import statistics
from tinyllava_core.evaluate.questions import (
    Benchmark,
    Item,
    Question,
    QuestionId,
    Scored,
    check_unique,
    in_order,
    key,
    read_json_lines,
)

SUFFIX = "\nAnswer the question using a single word or phrase."
SPLITS = ("adversarial", "popular", "random")  # LLaVA's order
_SAYS_YES = re.compile(r"\byes\b", re.IGNORECASE)


def read(annotations: Path, images: ImagePlaces) -> list[Question]:
    """Read one file of JSON lines, or a folder with one file per split (`coco_pope_random.json`, ...).

    A line: question_id, image, text, label (yes or no), and a category where one file holds several splits. The files of
    a folder each count from 1, so the questions are numbered anew over all of them, as LLaVA's file numbers them.
    Raises BadInput on a malformed line, an id that occurs twice, or a label that is neither.
    """
    if not annotations.is_dir():
        questions = _read_file(annotations, first_id=None)
        check_unique([question.question_id for question in questions], str(annotations))
        return questions
    questions = []
    for path in sorted(annotations.glob("*.json")):
        questions += _read_file(path, first_id=len(questions) + 1)
    if not questions:
        raise BadInput(
            f"{annotations}: no .json file in it; expected coco_pope_random.json and the like, or name one file"
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
        questions.append(
            Question(
                question_id=own_id if first_id is None else first_id + place,
                image=key(row, "image", str, where),
                text=key(row, "text", str, where) + SUFFIX,
                gold=(label,),
                category=key(row, "category", str, where) if "category" in row else split,
            )
        )
    return questions


def parse(answer: str) -> str:
    """Read an answer -> yes or no: no, if one of the pieces between single spaces of the first sentence is No, not or no.

    Case counts, only commas are deleted, and everything else is a yes: `NO`, `No!`, `None`, nothing at all.
    """
    words = answer.split(".", 1)[0].replace(",", "").split(" ")
    return "no" if any(word in ("No", "not", "no") for word in words) else "yes"


def score(questions: Sequence[Question], answers: Mapping[QuestionId, str]) -> Scored:
    """Score all questions together, each category on its own, and give the mean F1 of the categories (LLaVA's number).

    Precision, recall and F1 are of the yes; without any yes said (the official script then divides by zero) precision is 0.
    `num_unparsed` counts answers that are a yes only because the rule says so: no word yes in them.
    """
    texts = in_order(questions, answers)
    said = [parse(text) for text in texts]
    counts_IC = np.array([_counts(word, question.gold[0]) for word, question in zip(said, questions, strict=True)])
    clusters = [question.cluster for question in questions]
    categories = sorted({question.category for question in questions} - {""})
    subscores = _metrics(counts_IC)
    subscores["f1_stderr"] = 100 * statistics.bootstrap_error(counts_IC, clusters, _f1)
    for category in categories:
        inside = np.array([question.category == category for question in questions])
        subscores |= {f"{category}.{name}": value for name, value in _metrics(counts_IC[inside]).items()}
    if categories:
        subscores["mean_f1"] = statistics.mean([subscores[f"{category}.f1"] for category in categories])
    return Scored(
        metric="accuracy",
        score=subscores["accuracy"],
        stderr=100 * statistics.bootstrap_error(counts_IC, clusters, _accuracy),
        subscores=subscores,
        items=tuple(
            Item(
                question_id=question.question_id,
                image=question.image,
                parsed=word,
                score=float(word == question.gold[0]),
            )
            for word, question in zip(said, questions, strict=True)
        ),
        num_unparsed=sum(word == "yes" and not _SAYS_YES.search(text) for word, text in zip(said, texts, strict=True)),
    )


def _counts(said: str, label: str) -> tuple[int, int, int, int]:
    """Give one answer's true positive, false positive, true negative, false negative."""
    right = said == label
    return (
        int(right and said == "yes"),
        int(not right and said == "yes"),
        int(right and said == "no"),
        int(not right and said == "no"),
    )


def _metrics(counts_IC: np.ndarray) -> dict[str, float]:
    true_yes, false_yes, _, false_no = sums = counts_IC.sum(axis=0)
    return {
        "accuracy": 100 * float(_accuracy(sums[None])[0]),
        "precision": 100 * _ratio(true_yes, true_yes + false_yes),
        "recall": 100 * _ratio(true_yes, true_yes + false_no),
        "f1": 100 * float(_f1(sums[None])[0]),
        "yes_ratio": 100 * _ratio(true_yes + false_yes, sums.sum()),
    }


def _accuracy(sums_RC: np.ndarray) -> np.ndarray:
    return (sums_RC[:, 0] + sums_RC[:, 2]) / sums_RC.sum(axis=1)


def _f1(sums_RC: np.ndarray) -> np.ndarray:
    """2 TP / (2 TP + FP + FN): the harmonic mean of precision and recall, 0 where both are 0."""
    double_R = 2 * sums_RC[:, 0]
    return double_R / np.maximum(double_R + sums_RC[:, 1] + sums_RC[:, 3], 1)


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0


POPE = Benchmark(name="pope", read=read, score=score, suffix=SUFFIX)
