"""The answers of an evaluation as packs: each question with what the checkpoint said, to be run like a record. It scores nothing.

An answer is taken as the text that stands in answers.jsonl, with the token that ends it.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.data.plan.picture_ids import picture_ids
from tinyllava_core.data.plan.prompt import Encoded, encode
from tinyllava_core.data.record.record import IMAGE_TAG, Turn
from tinyllava_core.data.tensors.example import Pack, join
from tinyllava_core.data.tensors.order import order_of
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.answer.answer import Answerer, Size
from tinyllava_core.evaluate.questions.answers import own_id
from tinyllava_core.evaluate.questions.questions import Files, Question
from tinyllava_core.evaluate.score.benchmarks import benchmark
from tinyllava_core.evaluate.score.scoring import RIGHT
from tinyllava_core.job import EvaluateJob

_TOGETHER = 16  # questions of one pack


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One answer that a checkpoint gave."""

    benchmark: str
    question_id: str
    text: str  # the question, with its suffix
    answer: str
    was_right: bool | None  # None: the right answers are not public
    question: Question
    images: ImagePlaces


def given_answers(evaluation: Path) -> list[Given]:
    """Read what an evaluation asked and what was said. Raises BadInput if its files are gone."""
    told = evaluation / "JOB.yaml"
    if not told.is_file():
        raise BadInput(f"{evaluation}: no JOB.yaml, which says where the questions and pictures are; evaluate again")
    job = EvaluateJob.read(told)
    variant = benchmark(job.scorer).variant(job.variant)
    questions = {
        str(one.question_id): one for one in variant.read(Files(annotations=job.annotations, images=job.images))
    }
    right = {str(row["question_id"]): row["score"] >= RIGHT for row in _rows(evaluation / "items.jsonl")}
    found = []
    for row in _rows(evaluation / "answers.jsonl"):
        name = str(own_id(row, "answers.jsonl"))
        question = questions[name]
        found.append(
            Given(
                benchmark=job.benchmark,
                question_id=name,
                text=question.text,
                answer=row["text"],
                was_right=right.get(name),
                question=question,
                images=job.images,
            )
        )
    return found


def right_answers(evaluation: Path) -> list[Given]:
    """Read what an evaluation asked, each question with its right answer: the one that most say where several are right.

    Raises BadInput if the right answers are not public.
    """
    given = given_answers(evaluation)
    found = [
        dataclasses.replace(one, answer=Counter(one.question.gold).most_common(1)[0][0])
        for one in given
        if one.question.gold
    ]
    if not found:
        name = given[0].benchmark if given else evaluation
        raise BadInput(
            f"{name}: its right answers are not public, so no model can be held against them; leave it out of evaluate.benchmarks"
        )
    return found


def packs(answerer: Answerer, given: list[Given]) -> Iterator[tuple[list[Given], Pack]]:
    """Lay answers out, some at a time, with their pictures as the evaluation showed them."""
    for first in range(0, len(given), _TOGETHER):
        some = given[first : first + _TOGETHER]
        seen = [[answerer.picture(_file(one, name), name=name) for name in one.question.pictures] for one in some]
        sizes = [[shown.size for shown in pictures] for pictures in seen]
        yield (
            some,
            join(
                encoded(answerer, some, sizes),
                [shown.tiles_N3HW for pictures in seen for shown in pictures],
                answerer.loaded.vision.image_size,
                image_id=answerer.tokenizer.image_id,
                tiles=tuple(sum(len(shown.tiles_N3HW) for shown in pictures) for pictures in seen),
                order=order_of(answerer.loaded.scheme, [size for mine in sizes for size in mine]),
            ),
        )


def encoded(answerer: Answerer, given: list[Given], sizes: list[list[Size]]) -> list[Encoded]:
    """Write each question and its answer in the checkpoint's prompt format; `sizes`: of the pictures of each."""
    turns = [
        (
            Turn(role="user", text=IMAGE_TAG * len(one.question.pictures) + one.text),
            Turn(role="assistant", text=one.answer),
        )
        for one in given
    ]
    images = [picture_ids(answerer.loaded.scheme, mine, answerer.tokenizer) for mine in sizes]
    return encode(turns, answerer.loaded.prompt, answerer.tokenizer, images)


def _file(one: Given, name: str) -> Path:
    file = one.images.find(name)
    if file is None:
        raise BadInput(f"{one.benchmark}: picture {name} is gone: {one.images.told()}; download the benchmark again")
    return file


def _rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line] if path.is_file() else []
