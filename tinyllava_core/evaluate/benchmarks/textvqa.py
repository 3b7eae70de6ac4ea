"""TextVQA: can the model read what is written in the picture? Ten people's answers per question, M4C's soft accuracy.

Asked without the OCR tokens that LLaVA's question file puts into the prompt: published LLaVA and TinyLLaVA numbers are
with them, and some ten points higher. Source: TextVQA 0.5.1; LLaVA `eval_textvqa.py` and `m4c_evaluator.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tinyllava_core.data.places import ImagePlaces
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate import statistics
from tinyllava_core.evaluate.benchmarks.vqa_text import m4c
from tinyllava_core.evaluate.questions import (
    Benchmark,
    Item,
    Question,
    QuestionId,
    Scored,
    check_unique,
    in_order,
    key,
    read_json,
)

SUFFIX = "\nAnswer the question using a single word or phrase."
NUM_HUMANS = 10
_FOLDERS = ("", "train_images/")  # the official archive holds its pictures in the second
_ENDINGS = (".jpg", ".png")


def read(annotations: Path, images: ImagePlaces) -> list[Question]:
    """Read the official JSON: {"data": [{question_id, image_id, question, answers: ten texts, ...}, ...]}.

    The image is `<image_id>.jpg` or `.png`, whichever is there. A `category`, which the official file
    does not have, gives a subscore of its own. Raises BadInput on another shape or an id that occurs twice.
    """
    whole = read_json(annotations)
    if not isinstance(whole, dict) or not isinstance(whole.get("data"), list):
        found = f"keys {', '.join(whole)}" if isinstance(whole, dict) else f"a JSON {type(whole).__name__}"
        raise BadInput(
            f"{annotations}: expected TextVQA's {{'data': [...]}}, found {found}; use TextVQA_0.5.1_val.json"
        )
    if not whole["data"]:
        raise BadInput(f"{annotations}: 'data' is empty; expected questions")

    @cache
    def image(image_id: str) -> str:
        names = [f"{folder}{image_id}{ending}" for folder in _FOLDERS for ending in _ENDINGS]
        return next((name for name in names if images.find(name)), names[0])

    questions = []
    for place, row in enumerate(whole["data"]):
        where = f"{annotations}, data[{place}]"
        if not isinstance(row, dict):
            raise BadInput(f"{where}: found a JSON {type(row).__name__}; expected an object")
        questions.append(
            Question(
                question_id=key(row, "question_id", (int, str), where),
                image=image(str(key(row, "image_id", (int, str), where))),
                text=key(row, "question", str, where) + SUFFIX,
                gold=_humans(row, where),
                category=key(row, "category", str, where) if "category" in row else "",
            )
        )
    check_unique([question.question_id for question in questions], str(annotations))
    return questions


def _humans(row: dict[str, Any], where: str) -> tuple[str, ...]:
    if "answers" not in row:
        raise BadInput(
            f"{where}: key 'answers' is missing: the test split's are not public; use TextVQA_0.5.1_val.json"
        )
    answers = key(row, "answers", list, where)
    if len(answers) != NUM_HUMANS or not all(isinstance(answer, str) for answer in answers):
        raise BadInput(f"{where}: answers = {answers!r}; expected {NUM_HUMANS} texts, which the metric is defined on")
    return tuple(answers)


def score(questions: Sequence[Question], answers: Mapping[QuestionId, str]) -> Scored:
    """Score with M4C's soft accuracy; the standard error is clustered by image.

    `num_unparsed` counts answers of which the normalisation leaves nothing.
    """
    items = []
    by_category: dict[str, list[float]] = defaultdict(list)
    for question, answer in zip(questions, in_order(questions, answers), strict=True):
        parsed, value = m4c(answer, question.gold)
        items.append(Item(question_id=question.question_id, image=question.image, parsed=parsed, score=value))
        if question.category:
            by_category[question.category].append(value)
    scores = [item.score for item in items]
    return Scored(
        metric="accuracy",
        score=100 * statistics.mean(scores),
        stderr=100 * statistics.standard_error(scores, [question.cluster for question in questions]),
        subscores={category: 100 * statistics.mean(values) for category, values in sorted(by_category.items())},
        items=tuple(items),
        num_unparsed=sum(not item.parsed for item in items),
    )


TEXTVQA = Benchmark(name="textvqa", read=read, score=score, suffix=SUFFIX)
