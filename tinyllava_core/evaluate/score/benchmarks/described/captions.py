"""Captions (TextCaps val, COCO): one sentence for each picture, scored by CIDEr against people's.

Published numbers use the Penn Treebank tokenizer, a Java program; ours agrees with it on all but rare forms (docs/evaluation.md
has how far). VLMEvalKit uses none, so its numbers are others. Rules: rules/cider.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.answers import Texts, in_order
from tinyllava_core.evaluate.questions.cell_pictures import write_pictures
from tinyllava_core.evaluate.questions.questions import Files, Question, key, picture_finder, read_json
from tinyllava_core.evaluate.questions.table import Pictures, Row, question_of, read_rows
from tinyllava_core.evaluate.score.benchmarks.rules.cider import cider, words
from tinyllava_core.evaluate.score.scoring import Benchmark, Item, Variant, item
from tinyllava_core.evaluate.score.statistics import Measure, ratio

ASK = "Provide a one-sentence caption for the provided image."  # Source: lmms-eval `textcaps`, `coco_cap`
COLUMNS = ("caption_str", "reference_strs", "captions", "answer")
MAX_CIDER = 10.0


def read(files: Files) -> list[Question]:
    """Read COCO's `captions_*.json` ({images: {id, file_name}, annotations: {image_id, caption}}), or rows with a list of captions."""
    if files.annotations.suffix == ".json":
        whole = read_json(files.annotations)
        if isinstance(whole, dict) and "annotations" in whole and "images" in whole:
            return _coco(whole, files)
    pictures, questions = Pictures(files), []
    for row in read_rows(files.annotations):
        name = row.text("question_id" if row.has("question_id") else "image_id")
        questions.append(question_of(row, pictures.of(row, name), question_id=name, text=ASK, gold=_references(row)))
    return questions


def _references(row: Row) -> tuple[str, ...]:
    column = next((name for name in COLUMNS if row.has(name)), None)
    if column is None:
        raise BadInput(f"{row.where}: no captions; expected a list of them in a column {' or '.join(COLUMNS)}")
    return row.texts(column)


def _coco(whole: dict[str, Any], files: Files) -> list[Question]:
    where = str(files.annotations)
    captions: dict[int, list[str]] = {}
    for one in key(whole, "annotations", list, where):
        image_id = key(one if isinstance(one, dict) else {}, "image_id", int, where)
        captions.setdefault(image_id, []).append(key(one, "caption", str, where))
    find, questions = picture_finder(files.images, ("", "val2014/"), ("",)), []
    for one in key(whole, "images", list, where):
        image_id = key(one if isinstance(one, dict) else {}, "id", int, where)
        image = find(key(one, "file_name", str, where))
        gold = tuple(captions.get(image_id, ()))
        questions.append(Question(question_id=image_id, image=image, text=ASK, gold=gold))
    return questions


def mark(questions: Sequence[Question], answers: Texts, *, tokenize: bool) -> list[Item]:
    """Score every caption against the picture's, words weighed over the whole set. counts: CIDEr, 0 to 10. Unparsed: no word."""
    cut = words if tokenize else str.split
    said = [cut(text) for text in in_order(questions, answers)]
    scores = cider(said, [[cut(text) for text in question.gold] for question in questions])
    return [
        item(question, " ".join(caption), min(1.0, score / MAX_CIDER), counts=(score,), unparsed=not caption)
        for question, caption, score in zip(questions, said, scores, strict=True)
    ]


def measures(items: Sequence[Item]) -> list[Measure]:
    """Measure the mean CIDEr times 100, as tables have it; its error is of the choice of pictures, the words' weights as they are."""
    columns_IC = np.array([[one.counts[0], 1.0] for one in items])
    rows_I = np.arange(len(items))
    return [Measure(name="cider", rows_I=rows_I, columns_IC=columns_IC, statistic=ratio, max_score=100 * MAX_CIDER)]


CAPTIONS = Benchmark(
    name="captions",
    variants={
        "official": Variant(
            meaning="CIDEr-D of lower-case words without punctuation", read=read, mark=partial(mark, tokenize=True),
            measures=measures,
        ),
        "vlmevalkit": Variant(
            meaning="CIDEr-D of what stands between blanks: capitals and full stops count", read=read,
            mark=partial(mark, tokenize=False), measures=measures,
        ),
    },
    default="official",
    cluster="image",
    max_new_tokens=64,  # Source: lmms-eval `textcaps`
    write_pictures=write_pictures,
)  # fmt: skip
