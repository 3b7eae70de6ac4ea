"""OCRBench v2: 10,000 questions, English and Chinese, of thirty kinds: reading, finding, counting, tables, pages, reasoning.

`official` is the authors' number: the mean of eight categories of kinds in English, and of five in Chinese. It needs lxml,
nltk, jieba and WordNet; `simple` passes over the kinds that need them, so its number is no published total.
Source: MultimodalOCR `OCRBench_v2/eval_scripts`, `eval.py`, `get_score.py`.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.answers import Texts, in_order
from tinyllava_core.evaluate.questions.cell_pictures import write_pictures
from tinyllava_core.evaluate.questions.questions import Files, Question, key, shown
from tinyllava_core.evaluate.questions.table import Pictures, Row, question_of, read_rows
from tinyllava_core.evaluate.score.benchmarks.rules.boxes import Box
from tinyllava_core.evaluate.score.benchmarks.rules.pages import libraries
from tinyllava_core.evaluate.score.benchmarks.short_answer.ocrbench_v2_worth import (
    CHART,
    CHINESE,
    COUNTING,
    DOCUMENTS,
    FORMULAS,
    GROUNDING,
    HANDWRITTEN,
    NAMED,
    PAGES,
    POSITION,
    SPOTTING,
    TABLES,
    worth,
)
from tinyllava_core.evaluate.score.scoring import (
    Benchmark,
    Item,
    Variant,
    facet_rows,
    item,
    mean_and_facets,
    mean_of_means,
)
from tinyllava_core.evaluate.score.statistics import Measure

CATEGORIES = {
    "en: text recognition": ("text recognition en", *PAGES[:2]),
    "en: text detection": (GROUNDING, POSITION),
    "en: text spotting": (SPOTTING,),
    "en: relationship extraction": NAMED[:2],
    "en: element parsing": (DOCUMENTS[0], CHART, TABLES[0], FORMULAS[0]),
    "en: mathematical calculation": ("math QA en", COUNTING),
    "en: visual text understanding": ("document classification en", "cognition VQA en", "diagram QA en"),
    "en: knowledge reasoning": ("reasoning VQA en", "science QA en", "APP agent en", "ASCII art classification en"),
    "cn: text recognition": (PAGES[2],),
    "cn: relationship extraction": (NAMED[2], HANDWRITTEN),
    "cn: element parsing": (DOCUMENTS[1], TABLES[1], FORMULAS[1]),
    "cn: visual text understanding": (CHINESE[0],),
    "cn: knowledge reasoning": (CHINESE[1], PAGES[3]),
}  # Source: `get_score.py`
CATEGORY = {kind: name for name, kinds in CATEGORIES.items() for kind in kinds}
LIBRARIES = (*TABLES, CHART, *PAGES, HANDWRITTEN)  # kinds that need them
SIMPLE = tuple(kind for kind in CATEGORY if kind not in LIBRARIES)
_MAX_DIGITS = 9
_SIDES = 4


def read(files: Files, *, kinds: Collection[str]) -> list[Question]:
    """Read `OCRBench_v2.json` or the hub's rows: id, type, question, answers, eval, bbox, content; other kinds are passed over.

    So are translations of nothing, as the authors do. Raises BadInput on a row that does not fit its kind.
    """
    if set(PAGES) & set(kinds):
        libraries()
    pictures, questions = Pictures(files, ("", "EN_part/", "CN_part/"), ("image_path",)), []
    for row in read_rows(files.annotations):
        kind = row.text("type")
        if kind not in CATEGORY:
            raise BadInput(
                f"{row.where}: type = {shown(kind)}; expected one of OCRBench v2's thirty, {SPOTTING!r} or so"
            )
        gold, context = _gold(row, kind)
        if kind not in kinds or (kind == PAGES[3] and not gold[0]):
            continue
        name = row.text("id")
        questions.append(
            question_of(
                row,
                (f"{row.place}.jpg",) if row.embedded else pictures.of(row, name),
                question_id=name,
                text=row.text("question").strip(),
                gold=gold,
                category=kind,
                context=context,
                facets=(kind, CATEGORY[kind]),
            )
        )
    if not questions:
        raise BadInput(f"{files.annotations}: no row of a kind that is scored; expected OCRBench_v2.json")
    return questions


def _gold(row: Row, kind: str) -> tuple[tuple[str, ...], str]:
    """Give what is right as texts, and what belongs to it: how to compare, or boxes in JSON.

    Of names with values: {name: all values that are right}, in JSON; of a chart its values; of a box, its four sides.
    """
    if kind == SPOTTING:
        texts, boxes = row.texts("content"), key(row.cells, "bbox", list, row.where)
        if len(texts) != len(boxes):
            raise BadInput(f"{row.where}: {len(texts)} content, but {len(boxes)} bbox; expected a box of each")
        return texts, json.dumps([_corners(row, box) for box in boxes])
    found = key(row.cells, "answers", (list, str, int, float), row.where)
    answers = found if isinstance(found, list) else [found]
    if answers and kind == CHART and isinstance(answers[0], dict):
        return (json.dumps(answers[0]),), ""
    if answers and kind in NAMED:
        return (json.dumps(_named(row, answers[0])),), ""
    texts = tuple(str(one) for one in answers)
    fits = all(text.isdecimal() and len(text) <= _MAX_DIGITS for text in texts)
    counted = kind == COUNTING and row.text("eval") == "regression"
    if (
        not texts
        or kind == CHART
        or (kind == GROUNDING and not (fits and len(texts) == _SIDES))
        or (counted and not fits)
    ):
        raise BadInput(f"{row.where}: answers = {shown(found)} of kind {kind}; expected texts, a count, or four sides")
    if kind == POSITION:
        return texts, json.dumps(_corners(row, row.cells.get("bbox")))
    return texts, row.text("eval") if row.has("eval") else ""


def _corners(row: Row, sides: Any) -> Box:
    """Give the box around the corners x, y, x, y, ..."""
    numbers = [side for side in sides if type(side) in (int, float)] if isinstance(sides, list) else []
    if len(numbers) < _SIDES or len(numbers) % 2 or len(numbers) != len(sides):
        raise BadInput(f"{row.where}: bbox = {shown(sides)}; expected the corners x, y, x, y, ... as numbers")
    across, down = numbers[::2], numbers[1::2]
    return float(min(across)), float(min(down)), float(max(across)), float(max(down))


def _named(row: Row, value: Any) -> dict[str, list[str]]:
    """Read names with the values that are right, where they may be written out, twice over."""
    for _ in range(2):
        try:
            value = ast.literal_eval(value.strip('"')) if isinstance(value, str) else value
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                break
    if not isinstance(value, dict):
        raise BadInput(f"{row.where}: answers = {shown(value)}; expected {{name: value or values}}")
    lists = {str(name): one if isinstance(one, list) else [one] for name, one in value.items()}
    return {name: [str(one) for one in values] for name, values in lists.items()}


def mark(questions: Sequence[Question], answers: Texts) -> list[Item]:
    """Score every reply. Unparsed: an empty one."""
    return [
        item(question, text.strip(), min(1.0, max(0.0, worth(text, question))), unparsed=not text.strip())
        for question, text in zip(questions, in_order(questions, answers), strict=True)
    ]


def kinds_measures(items: Sequence[Item]) -> list[Measure]:
    """Measure the mean of the kinds that are scored here, all items pooled, and each kind."""
    kinds = {name: 1.0 for name in facet_rows(items) if name in CATEGORY}
    return [mean_of_means("mean_of_kinds", items, kinds), *mean_and_facets(items)]


def official_measures(items: Sequence[Item]) -> list[Measure]:
    """Measure the mean of the English categories, of the Chinese ones, all items pooled, each category and each kind."""
    found = []
    for name, start in (("english", "en: "), ("chinese", "cn: ")):
        if mine := {facet: 1.0 for facet in facet_rows(items) if facet.startswith(start)}:
            found.append(mean_of_means(name, items, mine))
    return [*found, *mean_and_facets(items)]


OCRBENCH_V2 = Benchmark(
    name="ocrbench-v2",
    variants={
        "simple": Variant(
            meaning="the kinds that need no library, mean of kinds; no published total",
            read=partial(read, kinds=SIMPLE), mark=mark, measures=kinds_measures,
        ),
        "official": Variant(
            meaning="all thirty kinds, mean of the categories; needs the extra `ocrbench` and WordNet",
            read=partial(read, kinds=tuple(CATEGORY)), mark=mark, measures=official_measures,
        ),
    },
    default="simple",
    cluster="image",
    write_pictures=write_pictures,
)  # fmt: skip
