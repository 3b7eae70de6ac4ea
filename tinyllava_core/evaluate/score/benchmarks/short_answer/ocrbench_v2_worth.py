"""What a reply to OCRBench v2 is worth, by its kind: thirty kinds, fourteen rules. Source: MultimodalOCR
`OCRBench_v2/eval_scripts`: `eval.py`, `vqa_metric.py`, `IoUscore_metric.py`; their kin are in `rules/`.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping

from tinyllava_core.evaluate.questions.questions import Question
from tinyllava_core.evaluate.score.benchmarks.rules.boxes import boxed_texts, overlap, spotted
from tinyllava_core.evaluate.score.benchmarks.rules.distance import HALF, edit_distance
from tinyllava_core.evaluate.score.benchmarks.rules.pages import page_similarity
from tinyllava_core.evaluate.score.benchmarks.rules.pairs import pairs, share_right
from tinyllava_core.evaluate.score.benchmarks.rules.trees import (
    chart_table,
    chart_values,
    document_similarity,
    html_table,
    markdown_table,
    table_similarity,
    wrapped,
)

COUNTING, GROUNDING, SPOTTING = "text counting en", "text grounding en", "text spotting en"
POSITION, CHART, HANDWRITTEN = "VQA with position en", "chart parsing en", "handwritten answer extraction cn"
FORMULAS = ("formula recognition en", "formula recognition cn")
NAMED = ("key information extraction en", "key information mapping en", "key information extraction cn")
TABLES = ("table parsing en", "table parsing cn")
DOCUMENTS = ("document parsing en", "document parsing cn")
PAGES = ("fine-grained text recognition en", "full-page OCR en", "full-page OCR cn", "text translation cn")
CHINESE = ("cognition VQA cn", "reasoning VQA cn")
_SENTENCE = "\u7b80\u7b54"  # in a question: to be answered in words
_SEPARATORS = ("", ".", ". ", ",", ", ", "\u3001", ";", "; ", " ", "\u548c")  # Source: `eval.py`
_SHORT_WORDS, _SHORT_PARTS = 5, 4  # of a right answer that is looked for whole
_NUMBER = re.compile(r"\d+")
_TEXT_TAG = re.compile(r"\\text\{([^{}]*)\}")
_BOX = re.compile(r"[(\[]\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*[)\]]")
_GRID = 1000
_MAX_DIGITS = 9


def worth(text: str, question: Question) -> float:
    """Score a reply by its kind's rule, 0 to 1."""
    kind, how, gold = question.category, question.context, question.gold
    rule = _RULES.get(kind)
    if rule is not None:
        return rule(text, question)
    if how == "multiple choice":
        return float("".join(letter for letter in text if letter.isalpha()) == gold[0])
    if how == "case sensitive":
        return max(_near(_line(text), _line(one), len(one.split()) < _SHORT_WORDS) for one in gold)
    if kind in CHINESE:
        said, wanted = _line(text.lower()).replace(" ", ""), [_line(one.lower()).replace(" ", "") for one in gold]
        return max(_near(said, one, len(one.split(",")) < _SHORT_PARTS) for one in wanted)
    return max(_plain(text, one) for one in gold)


def _plain(text: str, wanted: str) -> float:
    return _near(_line(text.lower()), _line(wanted.lower()), len(wanted.split()) < _SHORT_WORDS)


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


def _counting(text: str, question: Question) -> float:
    return max(_counted(text, one, question.context) for one in question.gold)


def _grounding(text: str, question: Question) -> float:
    left, top, right, bottom = map(float, question.gold)
    box = last_box(text)
    return overlap(box, (left, top, right, bottom)) if box else 0.0


def _spotting(text: str, question: Question) -> float:
    boxes = [tuple(box) for box in json.loads(question.context)]
    return spotted(boxed_texts(text), list(zip(boxes, question.gold, strict=True)))


def _position(text: str, question: Question) -> float:
    """Give half for what was said (`answer`), half for where (`bbox`)."""
    said = pairs(text)
    answer = max(_plain(said["answer"], one) for one in question.gold) if "answer" in said else 0.0
    try:
        left, top, right, bottom = (float(int(side)) for side in ast.literal_eval(said.get("bbox", "")))
    except (ValueError, SyntaxError, TypeError, OverflowError, MemoryError, RecursionError):
        return answer / 2
    return answer / 2 + overlap((left, top, right, bottom), tuple(json.loads(question.context))) / 2


def _formula(text: str, question: Question) -> float:
    strip: Callable[[str], str] = _untagged if question.category == FORMULAS[1] else str
    return float(any(_squeezed(strip(one)) in _squeezed(strip(text)) for one in question.gold))


def _names(text: str, question: Question) -> float:
    return share_right(pairs(text), json.loads(question.gold[0]))


def _chart(text: str, question: Question) -> float:
    said = chart_values(text)
    return table_similarity(chart_table(said), chart_table(json.loads(question.gold[0]))) if said else 0.0


def _table(text: str, question: Question) -> float:
    """Compare as HTML, or as Markdown where an English question asks for that."""
    if question.category == TABLES[1] or "html" in question.text.lower():
        return table_similarity(html_table(text), wrapped(question.gold[0]))
    return table_similarity(markdown_table(text), markdown_table(question.gold[0]))


def _document(text: str, question: Question) -> float:
    return document_similarity(text, question.gold[0])


def _page(text: str, question: Question) -> float:
    return page_similarity(text, question.gold[0])


def _handwritten(text: str, question: Question) -> float:
    """Look the chosen letters up in the reply, however they are separated; an answer in words is compared as a page is."""
    if _SENTENCE in question.text:
        return page_similarity(text, question.gold[0])
    return float(any(between.join(question.gold[0]) in text for between in _SEPARATORS))


_RULES: Mapping[str, Callable[[str, Question], float]] = {
    COUNTING: _counting, GROUNDING: _grounding, SPOTTING: _spotting, POSITION: _position, CHART: _chart,
    HANDWRITTEN: _handwritten, **dict.fromkeys(FORMULAS, _formula), **dict.fromkeys(NAMED, _names),
    **dict.fromkeys(TABLES, _table), **dict.fromkeys(DOCUMENTS, _document), **dict.fromkeys(PAGES, _page),
}  # fmt: skip
