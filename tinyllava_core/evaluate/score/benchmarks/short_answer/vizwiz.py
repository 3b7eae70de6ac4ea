"""VizWiz, val: 4,319 questions that blind people asked about pictures they took; ten answers each, often `unanswerable`.

The prediction is normalised, the people's answers are not: the release is clean. LLaVA's published numbers are of the hidden
test split, whose upload file is written. Source: VizWiz's API (Qing Li); LLaVA `convert_vizwiz_for_submission.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from tinyllava_core.artifact import write_aside
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.answers import Texts, check_complete, in_order
from tinyllava_core.evaluate.questions.questions import SHORT_ANSWER, Files, Question, check_unique, shown
from tinyllava_core.evaluate.questions.table import Pictures, Row, question_of, read_rows
from tinyllava_core.evaluate.score.benchmarks.rules.vqa_text import always_vqa, m4c, normalise_m4c, plain_humans_vqa
from tinyllava_core.evaluate.score.scoring import Benchmark, Item, Mark, Variant, item, mean_and_facets

HINT = "\nWhen the provided information is insufficient, respond with 'Unanswerable'."
ASK = HINT + SHORT_ANSWER  # Source: LLaVA's question file, lmms-eval
_FOLDERS = ("", "val/", "test/")


def read(files: Files) -> list[Question]:
    """Read `val.json`: a list of {image, question, answers: ten of {answer}, answer_type}; or the hub's rows. The id is the picture."""
    pictures, questions = Pictures(files, _FOLDERS, ("image",)), []
    for row in read_rows(files.annotations):
        name = _name(row)
        kind = row.text("answer_type" if row.has("answer_type") else "category") if row.has("answers") else ""
        questions.append(
            question_of(
                row,
                pictures.of(row, name),
                question_id=name,
                text=row.text("question") + ASK,
                gold=_humans(row) if row.has("answers") else (),
                facets=(f"answer_type.{kind}",) if kind else (),
            )
        )
    check_unique([question.question_id for question in questions], str(files.annotations))
    return questions


def _name(row: Row) -> str:
    name = row.text("image" if isinstance(row.cells.get("image"), str) else "question_id")
    return name if name.endswith(".jpg") else f"{name}.jpg"


def _humans(row: Row) -> tuple[str, ...]:
    found = row.cells["answers"]
    texts = [one.get("answer") if isinstance(one, dict) else one for one in found] if isinstance(found, list) else []
    if len(texts) < 2 or not all(isinstance(text, str) for text in texts):
        raise BadInput(f"{row.where}: answers = {shown(found)}; expected several people's, texts or {{answer}}")
    return tuple(str(text) for text in texts)


def marking(rule: Callable[[str, Sequence[str]], tuple[str, float]]) -> Mark:
    """Make a rule of marking. Unparsed: the normalisation leaves nothing."""

    def mark(questions: Sequence[Question], answers: Texts) -> list[Item]:
        items = []
        for question, text in zip(questions, in_order(questions, answers), strict=True):
            parsed, value = rule(text, question.gold)
            items.append(item(question, parsed, value, unparsed=not parsed))
        return items

    return mark


def submit(answers: Texts, questions: Path, out: Path) -> None:
    """Write the upload file of the test split, [{image, answer}], normalised as LLaVA does."""
    names = [_name(row) for row in read_rows(questions)]
    check_complete(names, answers)
    rows = [{"image": name, "answer": normalise_m4c(answers[name])} for name in names]
    write_aside(out, json.dumps(rows, ensure_ascii=False))


VIZWIZ = Benchmark(
    name="vizwiz",
    variants={
        name: Variant(meaning=meaning, read=read, mark=marking(rule), measures=mean_and_facets)
        for name, meaning, rule in (
            ("official", "the authors' API: the answer normalised, the people's as they are", plain_humans_vqa),
            ("lmms-eval", "M4C's normalisation of both sides", m4c),
            ("vlmevalkit", "VQA's normalisation of both sides", always_vqa),
        )
    },
    default="official",
    cluster="image",
    suffix=ASK,
    submit=submit,
)
