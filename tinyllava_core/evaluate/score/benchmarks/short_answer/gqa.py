"""GQA: compositional questions about a picture's objects, one word or phrase each; compared letter by letter.

The testdev split, balanced questions only: 12,578 about 398 pictures. Not scored: consistency (needs answers to all
entailed questions, which are not among the balanced), validity and plausibility (need a choices file that testdev lacks).
Source: GQA `eval.py`; LLaVA `convert_gqa_for_eval.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.answers import Texts, in_order, read_pairs
from tinyllava_core.evaluate.questions.questions import (
    SHORT_ANSWER,
    Files,
    Question,
    QuestionId,
    key,
    official,
    picture_finder,
    read_json,
    rows_of,
    shown,
)
from tinyllava_core.evaluate.score.scoring import Benchmark, Item, Variant, facet_rows, item
from tinyllava_core.evaluate.score.statistics import Measure, mean_measure, ratio

_NO_STEP = ("exist", "query: name", "choose name")  # they end a chain of reasoning rather than lengthen it


def read(files: Files) -> list[Question]:
    """Read `testdev_balanced_questions.json`, {id: {question, imageId, answer, isBalanced, types, semantic, ...}}.

    Questions that are not balanced are passed over, as in the official average. Raises BadInput on another shape.
    """
    path = official(files.annotations, "*_questions.json")
    whole = rows_of(
        read_json(path), path, "GQA's {id: {question, imageId, answer, ...}}; use testdev_balanced_questions.json"
    )
    image = picture_finder(files.images, ("", "images/"), (".jpg",))
    questions = []
    for question_id, row in whole.items():
        where = f"{path}, question {question_id}"
        if "isBalanced" in row and not row["isBalanced"]:
            continue
        questions.append(
            Question(
                question_id=question_id,
                image=image(str(key(row, "imageId", (str, int), where))),
                text=key(row, "question", str, where) + SHORT_ANSWER,
                gold=(key(row, "answer", str, where),) if "answer" in row else (),
                facets=_facets(row, where) if "answer" in row else (),
            )
        )
    if not questions:
        raise BadInput(f"{path}: no balanced question in it; use testdev_balanced_questions.json")
    return questions


def _facets(row: Mapping[str, Any], where: str) -> tuple[str, ...]:
    types = key(row, "types", dict, where)
    structural = key(types, "structural", str, where)
    semantic = key(row, "semantic", list, where)
    if not all(isinstance(step, dict) for step in semantic):
        raise BadInput(f"{where}: semantic = {shown(semantic)}; expected a list of {{operation, argument}}")
    steps = [step for step in semantic if not _is_no_step(step)]
    return (
        "open" if structural == "query" else "binary",
        f"structural.{structural}",
        f"semantic.{key(types, 'semantic', str, where)}",
        f"words.{len(row['question'].split()):02d}",
        f"steps.{len(steps)}",
    )


def _is_no_step(step: Mapping[str, str]) -> bool:
    written = f"{step.get('operation')}: {step.get('argument')}"
    return any(word in written for word in _NO_STEP)


def convert(text: str) -> str:
    """Bring an answer into the form that LLaVA hands to the official script: no full stops at the end, lower case."""
    return text.rstrip(".").lower()


def mark(questions: Sequence[Question], answers: Texts, *, converted: bool) -> list[Item]:
    """Compare each answer with the one right answer. Unparsed: an empty one."""
    items = []
    for question, text in zip(questions, in_order(questions, answers), strict=True):
        parsed = convert(text) if converted else text
        items.append(item(question, parsed, float(parsed == question.gold[0]), unparsed=not parsed.strip()))
    return items


def measures(items: Sequence[Item]) -> list[Measure]:
    """Measure accuracy, its error by a bootstrap over the pictures (some 32 questions each), and each type's."""
    values = [one.score for one in items]
    whole = mean_measure("accuracy", values)
    resampled = Measure(name="accuracy", rows_I=whole.rows_I, columns_IC=whole.columns_IC, statistic=ratio)
    return [resampled, *(mean_measure(name, values, rows) for name, rows in facet_rows(items).items())]


def own_answers(path: Path, questions: Sequence[Question]) -> dict[QuestionId, str]:
    """Read GQA's own result format: a JSON array of {questionId, prediction}."""
    rows = read_json(path)
    if not isinstance(rows, list):
        raise BadInput(f"{path}: expected LLaVA's JSON lines, or a JSON array of {{questionId, prediction}}")
    return read_pairs(rows, "questionId", "prediction", path)


GQA = Benchmark(
    name="gqa",
    variants={
        "llava": Variant(
            meaning="LLaVA's: final full stops off, lower case, then the official script",
            read=read,
            mark=partial(mark, converted=True),
            measures=measures,
        ),
        "official": Variant(
            meaning="the official script on the answer as it is",
            read=read,
            mark=partial(mark, converted=False),
            measures=measures,
        ),
    },
    default="llava",
    cluster="image",
    suffix=SHORT_ANSWER,
    own_answers=own_answers,
    extra_ignored=True,  # Source: `eval.py` looks its questions' predictions up, and never at the others
)
