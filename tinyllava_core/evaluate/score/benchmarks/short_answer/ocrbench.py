"""OCRBench: 1,000 questions about text in pictures, a point each if a right answer is somewhere in the reply.

The score is points of 1,000, whatever the file holds. Source: MultimodalOCR `OCRBench/scripts`; lmms-eval `ocrbench`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from tinyllava_core.evaluate.questions.answers import Texts, in_order
from tinyllava_core.evaluate.questions.cell_pictures import write_pictures
from tinyllava_core.evaluate.questions.questions import Files, Question
from tinyllava_core.evaluate.questions.table import Pictures, question_of, read_rows
from tinyllava_core.evaluate.score.scoring import Benchmark, Item, Variant, facet_rows, item
from tinyllava_core.evaluate.score.statistics import Floats, Measure, mean_measure

FORMULAS = "HME100k"  # handwritten formulas: blanks go, the case stays
RECOGNITION = ("Regular Text Recognition", "Irregular Text Recognition", "Artistic Text Recognition",
               "Handwriting Recognition", "Digit String Recognition", "Non-Semantic Text Recognition")  # fmt: skip
_WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}  # full-width forms of ASCII


def read(files: Files) -> list[Question]:
    """Read `OCRBench.json` or the hub's rows: dataset or dataset_name, type or question_type, question, answers; id = row."""
    pictures, questions = Pictures(files, ("", "OCRBench_Images/"), ("image_path", "image")), []
    for row in read_rows(files.annotations):
        right = "answers" if row.has("answers") else "answer"
        kind = row.text("type" if row.has("type") else "question_type")
        embedded = (f"{row.place}.jpg",) if row.embedded else ()
        questions.append(
            question_of(
                row,
                embedded or pictures.of(row, str(row.place)),
                question_id=row.place,
                text=row.text("question"),
                gold=row.texts(right) if isinstance(row.cells.get(right), list) else (row.text(right),),
                category=row.text("dataset_name" if row.has("dataset_name") else "dataset"),
                facets=(kind, "Text Recognition") if kind in RECOGNITION else (kind,),
            )
        )
    return questions


def contains(text: str, gold: str, *, formula: bool) -> bool:
    """Tell whether a right answer is in the reply: lower-cased, or, in a formula, with every blank out and the case kept."""
    if formula:
        said, wanted = (one.strip().replace("\n", " ").replace(" ", "") for one in (text, gold))
    else:
        said, wanted = (one.lower().strip().replace("\n", " ") for one in (text, gold))
    return wanted in said


def mark(questions: Sequence[Question], answers: Texts, *, fold: bool) -> list[Item]:
    """Look for the right answers in every reply. `fold`: full-width letters become ASCII first, but in formulas."""
    items = []
    for question, text in zip(questions, in_order(questions, answers), strict=True):
        formula = question.category == FORMULAS
        said, *gold = (one.translate(_WIDE) if fold and not formula else one for one in (text, *question.gold))
        right = any(contains(said, one, formula=formula) for one in gold)
        items.append(item(question, text.strip(), float(right), unparsed=not text.strip()))
    return items


def measures(items: Sequence[Item]) -> list[Measure]:
    """Measure the points, and each kind's share."""
    values = [one.score for one in items]
    kinds, share = facet_rows(items).items(), mean_measure("points", values)

    def statistic(sums_RC: Floats) -> Floats:
        return len(items) * sums_RC[:, 0] / np.maximum(sums_RC[:, 1], 1)

    points = replace(share, statistic=statistic, closed_form=False, max_score=float(len(items)))
    return [points, *(mean_measure(name, values, rows) for name, rows in kinds)]


OCRBENCH = Benchmark(
    name="ocrbench",
    variants={
        "official": Variant(
            meaning="a right answer is in the reply; points", read=read, mark=partial(mark, fold=False),
            measures=measures,
        ),
        "lmms-eval": Variant(
            meaning="the same, full-width letters folded to ASCII; lmms-eval prints points / 1000", read=read,
            mark=partial(mark, fold=True), measures=measures,
        ),
    },
    default="official",
    cluster="image",
    write_pictures=write_pictures,
)  # fmt: skip
