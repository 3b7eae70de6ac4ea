"""OCRBench v2, the fifteen of its thirty kinds whose rule is simple: short answers, choices, counts, formulas, one box.

Tables, charts, documents, spotting, whole pages, translation and key-value pairs need tree edit distance, BLEU, METEOR and
polygons; rows of those kinds are passed over, so the number here is no published total: compare it, and each kind's, with
numbers made here. Source: MultimodalOCR `OCRBench_v2/eval_scripts`; lmms-eval `ocrbench_v2/vqa_metric.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.answers import Texts, in_order
from tinyllava_core.evaluate.questions.questions import Files, Question, key, shown
from tinyllava_core.evaluate.questions.table import Pictures, Row, question_of, read_rows, write_pictures
from tinyllava_core.evaluate.score.benchmarks.rules.boxes import overlap
from tinyllava_core.evaluate.score.benchmarks.rules.distance import HALF, edit_distance
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

ENGLISH = ("APP agent en", "ASCII art classification en", "math QA en", "reasoning VQA en", "science QA en",
           "text recognition en", "document classification en", "cognition VQA en", "diagram QA en")  # fmt: skip
CHINESE = ("cognition VQA cn", "reasoning VQA cn")
COUNTING, GROUNDING = "text counting en", "text grounding en"
FORMULA, FORMULA_CN = "formula recognition en", "formula recognition cn"
KINDS = (*ENGLISH, *CHINESE, COUNTING, GROUNDING, FORMULA, FORMULA_CN)
_SHORT_WORDS, _SHORT_PARTS = 5, 4  # of a right answer that is looked for whole
_NUMBER = re.compile(r"\d+")
_TEXT_TAG = re.compile(r"\\text\{([^{}]*)\}")
_BOX = re.compile(r"[(\[]\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*[)\]]")
_GRID = 1000
_MAX_DIGITS = 9


def read(files: Files) -> list[Question]:
    """Read `OCRBench_v2.json` or the hub's rows: id, type, question, answers, eval; kinds without a simple rule are passed over."""
    pictures, questions = Pictures(files, ("", "EN_part/", "CN_part/"), ("image_path",)), []
    for row in read_rows(files.annotations):
        kind = row.text("type")
        if kind not in KINDS:
            continue
        name = row.text("id")
        questions.append(
            question_of(
                row,
                (f"{row.place}.jpg",) if row.embedded else pictures.of(row, name),
                question_id=name,
                text=row.text("question").strip(),
                gold=_gold(row, kind),
                category=kind,
                context=row.text("eval") if row.has("eval") else "",
                facets=(kind,),
            )
        )
    if not questions:
        raise BadInput(f"{files.annotations}: no row of a kind with a simple rule; expected OCRBench_v2.json")
    return questions


def _gold(row: Row, kind: str) -> tuple[str, ...]:
    """Give the right answers as texts; of a box, its four sides; of a count, a number that can be read."""
    found = key(row.cells, "answers", (list, str, int, float), row.where)
    texts = tuple(str(one) for one in (found if isinstance(found, list) else [found]))
    fits = all(text.isdecimal() and len(text) <= _MAX_DIGITS for text in texts)
    if not texts or (kind == GROUNDING and not (fits and len(texts) == 4)) or (kind == COUNTING and not fits):
        raise BadInput(f"{row.where}: answers = {shown(found)} of kind {kind}; expected texts, a count, or four sides")
    return texts


def worth(text: str, question: Question) -> float:
    """Score a reply by its kind's rule, 0 to 1."""
    kind, how, gold = question.category, question.context, question.gold
    if kind == COUNTING:
        return max(_counted(text, one, how) for one in gold)
    if kind == GROUNDING:
        left, top, right, bottom = map(float, gold)
        box = last_box(text)
        return overlap(box, (left, top, right, bottom)) if box else 0.0
    if kind in (FORMULA, FORMULA_CN):
        strip: Callable[[str], str] = _untagged if kind == FORMULA_CN else str
        return float(any(_squeezed(strip(one)) in _squeezed(strip(text)) for one in gold))
    if how == "multiple choice":
        return float("".join(letter for letter in text if letter.isalpha()) == gold[0])
    if how == "case sensitive":
        return max(_near(_line(text), _line(one), len(one.split()) < _SHORT_WORDS) for one in gold)
    if kind in CHINESE:
        said, wanted = _line(text.lower()).replace(" ", ""), [_line(one.lower()).replace(" ", "") for one in gold]
        return max(_near(said, one, len(one.split(",")) < _SHORT_PARTS) for one in wanted)
    return max(_near(_line(text.lower()), _line(one.lower()), len(one.split()) < _SHORT_WORDS) for one in gold)


def _near(said: str, wanted: str, is_short: bool) -> float:
    """Look a short answer up in the reply; of a long one, give how near it is, from one half on."""
    if is_short:
        return float(wanted in said)
    near = 1 - edit_distance(said, wanted) / max(len(said), len(wanted), 1)
    return near if near >= HALF else 0.0


def _counted(text: str, wanted: str, how: str) -> float:
    if how == "exact match":
        return float(wanted in text)
    found = _NUMBER.search(text)
    said, right = int(found.group()[:_MAX_DIGITS]) if found else 0, int(wanted)
    if said <= 0 or said >= 2 * right:
        return 0.0
    near = 1 - abs(said - right) / right
    return near if near > HALF else 0.0


def last_box(text: str) -> tuple[float, float, float, float] | None:
    """Read the last `(a, b, c, d)` or `[a, b, c, d]` of whole numbers up to 1,000."""
    found = [tuple(map(int, match.groups())) for match in _BOX.finditer(text) if max(map(len, match.groups())) < 5]
    fits = [box for box in found if max(box) <= _GRID]
    if not fits:
        return None
    left, top, right, bottom = map(float, fits[-1])
    return left, top, right, bottom


def _line(text: str) -> str:
    return text.strip().replace("\n", " ")


def _squeezed(text: str) -> str:
    return _line(text).replace(" ", "")


def _untagged(text: str) -> str:
    return _TEXT_TAG.sub(r"\1", text)


def mark(questions: Sequence[Question], answers: Texts) -> list[Item]:
    """Score every reply. Unparsed: an empty one."""
    return [
        item(question, text.strip(), min(1.0, max(0.0, worth(text, question))), unparsed=not text.strip())
        for question, text in zip(questions, in_order(questions, answers), strict=True)
    ]


def measures(items: Sequence[Item]) -> list[Measure]:
    """Measure the mean of the kinds that are scored here, all items pooled, and each kind."""
    return [mean_of_means("mean_of_kinds", items, dict.fromkeys(facet_rows(items), 1.0)), *mean_and_facets(items)]


OCRBENCH_V2 = Benchmark(
    name="ocrbench-v2",
    variants={
        "simple": Variant(
            meaning="the kinds whose rule is simple, mean of kinds; no published total", read=read, mark=mark,
            measures=measures,
        )
    },
    default="simple",
    cluster="image",
    write_pictures=write_pictures,
)  # fmt: skip
