"""MathVista, testmini: 1,000 questions of mathematics in pictures; options, whole numbers, decimals, lists.

The authors let GPT-4 extract the answer, even from a bare `B` (`judge`). `rules`, the default, reads directly what can be
read and counts the rest as unparsed and wrong: the share says how much a judge could still find. Source: MathVista
`build_query.py`, `extract_answer.py`, `calculate_score.py`; lmms-eval's prompt `_format`; VLMEvalKit `mathvista.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.answers import Texts, in_order
from tinyllava_core.evaluate.questions.questions import OPTION_LETTER, Files, Question, key
from tinyllava_core.evaluate.questions.table import NAME, Pictures, Row, question_of, read_rows
from tinyllava_core.evaluate.score.authors_prompt import authors_prompt
from tinyllava_core.evaluate.score.benchmarks.rules.distance import edit_distance
from tinyllava_core.evaluate.score.benchmarks.rules.letters import LETTERS, vlmevalkit
from tinyllava_core.evaluate.score.judge import ANSWER, Judge
from tinyllava_core.evaluate.score.scoring import Benchmark, Item, Mark, Variant, item, mean_and_facets

ASKS = {
    "integer": "\nAnswer the question using a single integer number.",
    "float1": "\nAnswer the question using a single floating-point number with one decimal place.",
    "float2": "\nAnswer the question using a single floating-point number with two decimal places.",
    "list": "\nAnswer the question using a Python list.",
    "text": OPTION_LETTER,
}  # Source: lmms-eval `mathvista_evals.py`, format-prompt
_QUICK = re.compile(r'The answer is "(.*)"\.')
_BRACKET = re.compile(r"\(([a-zA-Z])\)")
_HINT = "Hint: Please answer the question requiring {} and provide the final {}, e.g., {}, at the end."
HINTS = {
    "integer": _HINT.format("an integer answer", "value", "1, 2, 3"),
    "float1": _HINT.format("a floating-point number with one decimal place", "value", "1.2, 1.3, 1.4"),
    "float2": _HINT.format("a floating-point number with two decimal places", "value", "1.23, 1.34, 1.45"),
    "list": _HINT.format("a Python list as an answer", "list", "[1, 2, 3], [1.2, 1.3, 1.4]"),
    "text": "Hint: Please answer the question and provide the correct option letter, e.g., A, B, C, D, at the end.",
}  # Source: MathVista `build_query.py`
MAX_TOKENS = 1024  # of the judge's reply. Source: MathVista `models/gpt.py`


def read(files: Files) -> list[Question]:
    """Read `testmini.json`, {pid: {question, image, choices, unit, precision, answer, question_type, answer_type, metadata}}, or its rows."""
    pictures, questions = Pictures(files, ("", "images/")), []
    for row in read_rows(files.annotations):
        pid = row.text(NAME if row.has(NAME) else "pid")
        choices = row.texts("choices") if row.cells.get("choices") else ()
        kind = row.text("answer_type")
        if kind not in ("integer", "float", "list", "text"):
            raise BadInput(f"{row.where}: answer_type = {kind!r}; expected integer, float, list or text")
        digits = _digits(row) if kind == "float" else 0
        kind = f"{kind}{digits}" if kind == "float" else kind
        asked = row.text("question")
        unit = f" (Unit: {row.text('unit')})" if row.has("unit") else ""
        lines = [asked + unit, *(f"{letter}. {text}" for letter, text in zip(LETTERS, choices, strict=False))]
        questions.append(
            question_of(
                row,
                pictures.of(row, pid),
                question_id=pid,
                text="\n".join(lines) + ASKS[kind],
                stem=asked,
                gold=(row.text("answer"),) if row.has("answer") else (),
                category=kind,
                choices=choices,
                facets=(f"answer_type.{kind.rstrip('12')}", *_metadata(row)),
                context=_query(asked + unit, choices, kind),
            )
        )
    return questions


def _query(asked: str, choices: Sequence[str], kind: str) -> str:
    """Lay out a question as the authors ask it, without examples. Equal to `query.json` of their repository on all 1,000."""
    listed = [f"({letter}) {choice}" for letter, choice in zip(LETTERS, choices, strict=False)]
    return "\n".join([HINTS[kind], f"Question: {asked}", *(["Choices:", *listed] if listed else [])]).strip()


def read_judged(files: Files) -> list[Question]:
    """Read as `read` does, asked as the authors ask, with what the judge is told: `ext_ans.py`'s examples before it."""
    told = authors_prompt(files, "ext_ans.py", "demo_prompt", where="MathVista's repository, evaluation/prompts/")
    return [
        replace(one, text=one.context, context=f"{told.strip()}\n\n{one.context}\n\n{ANSWER}\n\nExtracted answer: ")
        for one in read(files)
    ]


def _digits(row: Row) -> int:
    precision = row.cells.get("precision")
    if precision not in (1, 2):
        raise BadInput(f"{row.where}: precision = {precision!r}; expected 1 or 2")
    return int(precision)


def _metadata(row: Row) -> list[str]:
    if not row.has("metadata"):
        return []
    told = key(row.cells, "metadata", dict, row.where)
    return [f"{name}.{told[name]}" for name in ("task", "category") if isinstance(told.get(name), str)]


def rules(text: str, question: Question) -> str:
    """Read an answer directly, in the form that is compared; "": nothing to read."""
    if not text:
        return ""
    if question.choices:
        if text in question.choices:
            return text
        quick = _QUICK.search(text)
        if quick:
            return nearest(quick.group(1), question.choices)
        letter = vlmevalkit(text, question)
        return question.choices[LETTERS.index(letter)] if letter in LETTERS[: len(question.choices)] and letter else ""
    quick = _QUICK.search(text)
    for said in (text, *(quick.groups() if quick else ())):
        if (number := as_compared(said, question.category)) is not None:
            return number
    return ""


def extracted(text: str, question: Question, judge: Judge) -> str:
    """Extract an answer as the authors do: an empty one, a choice's text or a number as it is, else what the judge says."""
    if not text or text in question.choices:
        return text
    read: dict[str, type[int] | type[float]] = {"integer": int, "float1": float, "float2": float}
    if question.category in read:
        try:
            return str(read[question.category](text))
        except ValueError:
            pass
    asked = {"role": "user", "content": question.context.replace(ANSWER, text)}
    return judge.ask([asked], temperature=0.0, max_tokens=MAX_TOKENS).strip()


def normalised(said: str, question: Question) -> str | None:
    """Write an extracted answer as it is compared; of options one is always the nearest, even to nothing. None: no number."""
    if question.choices:
        return nearest(said, question.choices)
    if question.category == "list":
        return said
    try:
        number = float(said)
        return str(int(number)) if question.category == "integer" else str(round(number, int(question.category[-1])))
    except (ValueError, OverflowError):
        return None


def judged(questions: Sequence[Question], answers: Texts, judge: Judge) -> list[Item]:
    """Extract, write as compared, compare. Unparsed: nothing was extracted, or no number where one was wanted."""
    items = []
    for question, text in zip(questions, in_order(questions, answers), strict=True):
        said = extracted(text, question, judge)
        parsed = normalised(said, question)
        right = float(parsed == question.gold[0])
        items.append(item(question, parsed or "", right, unparsed=not said or parsed is None))
    return items


def nearest(said: str, choices: Sequence[str]) -> str:
    """Give the choice that an extracted text means: by a letter in brackets, by its letter, else the one of least distance."""
    said = said.strip()
    bracket = _BRACKET.search(said)
    said = bracket.group(1).upper() if bracket else said
    letters: Mapping[str, str] = dict(zip(LETTERS, choices, strict=False))
    return letters[said] if said in letters else min(choices, key=lambda choice: edit_distance(said, choice))


def as_compared(said: str, kind: str) -> str | None:
    """Write a number as it is compared: a whole one truncated, a decimal rounded to its places; None: no number, or a list."""
    try:
        if kind == "integer":
            return str(int(float(int(said))))
        return str(round(float(said), int(kind[-1]))) if kind.startswith("float") else None
    except (ValueError, OverflowError):
        return None


def by_vlmevalkit(text: str, question: Question) -> str:
    """Read an answer as VLMEvalKit does before it asks its judge: a letter's choice, or a number equal to the right one."""
    if question.choices:
        letter = vlmevalkit(text, question)
        return question.choices[LETTERS.index(letter)] if letter in LETTERS[: len(question.choices)] and letter else ""
    read = {"integer": int, "float1": float, "float2": float}.get(question.category)
    try:
        same = read is not None and read(text) == read(question.gold[0])
    except ValueError:
        return ""
    return question.gold[0] if same else text.strip()


def marking(extract: Callable[[str, Question], str]) -> Mark:
    """Make a rule of marking: equal texts. Unparsed: only a judge could say what was meant."""

    def mark(questions: Sequence[Question], answers: Texts) -> list[Item]:
        items = []
        for question, text in zip(questions, in_order(questions, answers), strict=True):
            said = extract(text, question)
            items.append(item(question, said, float(bool(said) and said == question.gold[0]), unparsed=not said))
        return items

    return mark


MATHVISTA = Benchmark(
    name="mathvista",
    variants={
        name: Variant(meaning=meaning, read=read, mark=marking(extract), measures=mean_and_facets)
        for name, meaning, extract in (
            (
                "rules",
                "the authors' direct rules, then VLMEvalKit's letters; what only a judge can read is wrong",
                rules,
            ),
            ("vlmevalkit", "VLMEvalKit before its judge; numbers compared as numbers", by_vlmevalkit),
        )
    }
    | {
        "judge": Variant(
            meaning="a judge extracts what is no bare answer; the authors' way to ask",
            read=read_judged,
            judged=judged,
            measures=mean_and_facets,
        )
    },
    default="rules",
    cluster="image",
)
