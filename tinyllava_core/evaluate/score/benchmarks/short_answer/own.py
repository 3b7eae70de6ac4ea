"""A benchmark of one's own: a plain table of questions, pictures and right answers; the variant is the rule.

A row (JSON lines, a JSON list, CSV, or Parquet with pictures in it) has `question`, `image` (a path, or a list of them; none:
no picture) and `answer`, or `answers` where several are right; if wanted `id`, `category` (a sub-score each) and `options`.
A question is asked as it is written; one with options has them below it, by letter. No rule here is a published benchmark's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.answers import Texts, in_order
from tinyllava_core.evaluate.questions.cell_pictures import write_pictures
from tinyllava_core.evaluate.questions.questions import (
    OPTION_LETTER,
    Files,
    Question,
    QuestionId,
    check_unique,
    shown,
)
from tinyllava_core.evaluate.questions.table import Row, picture_names, question_of, read_rows
from tinyllava_core.evaluate.score.benchmarks.choice.ai2d import flexible
from tinyllava_core.evaluate.score.benchmarks.rules.distance import anls_lmms
from tinyllava_core.evaluate.score.benchmarks.rules.letters import LETTERS
from tinyllava_core.evaluate.score.benchmarks.rules.numbers import number_of, relaxed
from tinyllava_core.evaluate.score.benchmarks.rules.vqa_text import always_vqa
from tinyllava_core.evaluate.score.scoring import Benchmark, Item, Variant, item, mean_and_facets

Rule = Callable[[str, Question], tuple[str, float]]  # a reply -> what was read in it, and its worth from 0 to 1
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?%?")
_SAME = 1e-6  # relative: two numbers that are written otherwise


def read(files: Files, *, letters: bool) -> list[Question]:
    """Read the table. `letters`: every row needs options, and its answer is one's letter or its very text."""
    questions = []
    for row in read_rows(files.annotations):
        if not row.text("question").strip():
            raise BadInput(f"{row.where}: question is empty; expected what the model is asked")
        options = row.texts("options") if row.has("options") else row.options()
        if letters and not 2 <= len(options) <= len(LETTERS):
            raise BadInput(f"{row.where}: {len(options)} options; rule letter needs `options`, a list of two or more")
        lines = [row.text("question"), *(f"{letter}. {text}" for letter, text in zip(LETTERS, options, strict=False))]
        questions.append(
            question_of(
                row,
                _pictures(row),
                question_id=_id(row),
                text="\n".join(lines) + (OPTION_LETTER if letters else ""),
                stem=row.text("question"),
                gold=(_letter(row, options),) if letters else _answers(row),
                choices=options,
                facets=(row.text("category"),) if row.has("category") else (),
            )
        )
    check_unique([question.question_id for question in questions], str(files.annotations))
    return questions


def _id(row: Row) -> QuestionId:
    value = row.cells.get("id")
    if value in (None, ""):
        return row.place
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise BadInput(f"{row.where}: id = {shown(value)}; expected a text or a whole number")
    return value


def _answers(row: Row) -> tuple[str, ...]:
    """Give the right answers. A table that has none at all is a split without public answers, and is refused as such."""
    if row.has("answers"):
        values: Any = row.cells["answers"]
        if isinstance(values, list) and values and all(_plain(one) for one in values):
            return tuple(map(str, values))
        return row.texts("answers")
    return (row.text("answer"),) if row.has("answer") else ()


def _plain(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool) and value != ""


def _letter(row: Row, options: Sequence[str]) -> str:
    answer = row.text("answer")
    return LETTERS[options.index(answer)] if answer in options else row.letter("answer", len(options))


def _pictures(row: Row) -> tuple[str, ...]:
    value = row.cells.get("image")
    if row.embedded:
        return picture_names(row, ("image",))
    names = value if isinstance(value, list) else [] if value in (None, "") else [value]
    if not all(isinstance(name, str) and name for name in names):
        raise BadInput(f"{row.where}: image = {shown(value)}; expected a path, or a list of paths")
    return tuple(names)


def plain(text: str) -> str:
    """Bring a short answer into the form that `exact` and `contains` compare: lower case, single blanks, no full stop behind."""
    return " ".join(text.lower().split()).removesuffix(".")


def exact(text: str, question: Question) -> tuple[str, float]:
    """Score 1 where the whole reply is one of the right answers."""
    return plain(text), float(plain(text) in map(plain, question.gold))


def contains(text: str, question: Question) -> tuple[str, float]:
    """Score 1 where a right answer stands in the reply as whole words: `cat` is in `A cat.`, not in `category`."""
    found = any(re.search(rf"(?<!\w){re.escape(plain(right))}(?!\w)", plain(text)) for right in question.gold)
    return plain(text), float(found)


def letter(text: str, question: Question) -> tuple[str, float]:
    """Score 1 for the right option's letter, as the whole reply or in front of a full stop."""
    said = flexible(text, question)
    return said, float(said == question.gold[0])


def vqa(text: str, question: Question) -> tuple[str, float]:
    """Score as VQA does where several people answered: a third for each that says the same, at most 1; both sides normalised."""
    if len(question.gold) == 1:  # the leaving-out of one person needs others
        said, _ = always_vqa(text, question.gold)
        return said, float(said == always_vqa(question.gold[0], question.gold)[0])
    return always_vqa(text, question.gold)


def anls(text: str, question: Question) -> tuple[str, float]:
    """Score a reading by its edit distance from the nearest right answer; below one half nothing."""
    return text.strip(), anls_lmms(text, question.gold)


def numeric(text: str, question: Question) -> tuple[str, float]:
    """Score 1 where the last number of the reply is a right one: `1,200`, `1200.0` are equal, `62 %` is none of `62`."""
    found = _NUMBER.findall(text.replace(" %", "%"))
    said = found[-1] if found else ""
    return said, float(any(_equal(said, right) for right in question.gold)) if said else 0.0


def _equal(said: str, right: str) -> bool:
    one, other = (number_of(text.replace(",", "").replace(" %", "%").strip()) for text in (said, right))
    return one is not None and other is not None and math.isclose(one, other, rel_tol=_SAME)


def within_5(text: str, question: Question) -> tuple[str, float]:
    """Score 1 for a number within 5 % of a right one, or for an equal text: ChartQA's rule."""
    return text.strip(), float(any(relaxed(text, right) for right in question.gold))


def mark(questions: Sequence[Question], answers: Texts, rule: Rule) -> list[Item]:
    """Score every answer by one rule. Unparsed: the rule read nothing in it."""
    items = []
    for question, text in zip(questions, in_order(questions, answers), strict=True):
        said, worth = rule(text, question)
        items.append(item(question, said, worth, unparsed=not said))
    return items


OWN = Benchmark(
    name="own",
    variants={
        name: Variant(
            meaning=meaning,
            read=partial(read, letters=rule is letter),
            mark=partial(mark, rule=rule),
            measures=mean_and_facets,
        )
        for name, meaning, rule in (
            ("exact", "the whole reply is a right answer, whatever its case, blanks and a full stop behind", exact),
            ("contains", "a right answer stands in the reply, as whole words", contains),
            ("letter", "the right option's letter", letter),
            ("vqa", "several people's answers: a third for each that agrees, at most 1", vqa),
            ("anls", "edit distance from the nearest right answer; below one half nothing", anls),
            ("numeric", "the last number of the reply is a right one", numeric),
            ("within-5", "numbers within 5 % of a right one, else equal texts", within_5),
        )
    },
    default="exact",
    cluster="image",
    write_pictures=write_pictures,
)
