"""easy-VQA, test: 9,673 questions about pictures of one coloured shape, one right word each. Of use where a laptop trains.

Most of them are yes/no questions, which a model without eyes answers well (the right answer to `is there a blue shape?` is
mostly no), so the default is the open ones alone: which shape, which colour. The authors train a classifier over 13 words and
count the right ones; a sentence is not one of them, so it is wrong. Source: easy-VQA, its README and `questions.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from tinyllava_core.data.record.rows import is_triple
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.answers import Texts, in_order
from tinyllava_core.evaluate.questions.questions import Files, Question, picture_finder, read_json, shown
from tinyllava_core.evaluate.score.scoring import Benchmark, Item, Variant, item, mean_and_facets

WORDS = {
    **dict.fromkeys(("circle", "rectangle", "triangle"), "shape"),
    **dict.fromkeys(("black", "blue", "brown", "gray", "green", "red", "teal", "yellow"), "colour"),
    **dict.fromkeys(("yes", "no"), "yes-no"),
}  # Source: easy-VQA's answers.txt
ASK = ""  # its authors ask the bare question


def read(files: Files, wanted: Callable[[str], bool]) -> list[Question]:
    """Read `questions.json`: a list of [question, answer, picture's number]; a question's id is its row, from 0."""
    rows, find = read_json(files.annotations), picture_finder(files.images, ("", "images/"), ("", ".png"))
    if not isinstance(rows, list):
        raise BadInput(f"{files.annotations}: found a JSON {type(rows).__name__}; expected a list")
    questions = []
    for place, row in enumerate(rows):
        if not is_triple(row) or row[1] not in WORDS:
            raise BadInput(
                f"{files.annotations}, [{place}]: {shown(row)}; expected [question, one of its 13 answers, picture]"
            )
        text, answer, picture = row
        if wanted(WORDS[answer]):
            name = f"{picture}.png" if isinstance(picture, int) else picture
            questions.append(
                Question(question_id=place, image=find(name), text=text + ASK, gold=(answer,), facets=(WORDS[answer],))
            )
    return questions


def mark(questions: Sequence[Question], answers: Texts) -> list[Item]:
    """Score 1 where the answer is the right word, whatever its case and a full stop behind it. Unparsed: none of the 13."""
    items = []
    for question, text in zip(questions, in_order(questions, answers), strict=True):
        said = text.strip().lower().removesuffix(".")
        items.append(item(question, said, float(said == question.gold[0]), unparsed=said not in WORDS))
    return items


EASYVQA = Benchmark(
    name="easyvqa",
    variants={
        name: Variant(meaning=meaning, read=partial(read, wanted=wanted), mark=mark, measures=mean_and_facets)
        for name, meaning, wanted in (
            ("open", "which shape, which colour: what needs the picture", lambda kind: kind != "yes-no"),
            ("all", "all questions, as its authors count", lambda kind: True),
        )
    },
    default="open",
    cluster="image",
    max_new_tokens=8,
)
