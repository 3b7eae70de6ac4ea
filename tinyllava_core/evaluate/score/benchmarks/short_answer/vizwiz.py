"""VizWiz, val: 4,319 questions that blind people asked about pictures they took; ten answers each, often `unanswerable`.

The prediction is normalised, the people's answers are not: the release is clean. LLaVA's published numbers are of the hidden
test split, whose upload file is written. The second task, telling what cannot be answered, is read from the same text: the
model says so iff its normalised answer is `unanswerable`. Source: VizWiz's API (Qing Li); LLaVA
`convert_vizwiz_for_submission.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tinyllava_core.artifact import write_aside
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.answers import Texts, check_complete, in_order
from tinyllava_core.evaluate.questions.questions import SHORT_ANSWER, Files, Question, check_unique, shown
from tinyllava_core.evaluate.questions.table import Pictures, Row, question_of, read_rows
from tinyllava_core.evaluate.score.benchmarks.rules.vqa_text import always_vqa, m4c, normalise_m4c, plain_humans_vqa
from tinyllava_core.evaluate.score.scoring import Benchmark, Item, Mark, Variant, item, mean_and_facets
from tinyllava_core.evaluate.score.statistics import Floats, Measure, f1, share

HINT = "\nWhen the provided information is insufficient, respond with 'Unanswerable'."
ASK = HINT + SHORT_ANSWER  # Source: LLaVA's question file, lmms-eval
UNANSWERABLE = "unanswerable"  # an answer, an answer_type, and the positive class of the second task
_FOLDERS = ("", "val/", "test/")


def read(files: Files) -> list[Question]:
    """Read `val.json`: a list of {image, question, answers: ten of {answer}, answer_type, answerable}; or the hub's rows.

    The id is the picture. Without `answerable` (0 or 1; the hub's rows) the type says which questions have no answer.
    """
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
                category=_answerable(row, kind),
                facets=(f"answer_type.{kind}",) if kind else (),
            )
        )
    check_unique([question.question_id for question in questions], str(files.annotations))
    return questions


def _name(row: Row) -> str:
    name = row.text("image" if isinstance(row.cells.get("image"), str) else "question_id")
    return name if name.endswith(".jpg") else f"{name}.jpg"


def _answerable(row: Row, kind: str) -> str:
    """Tell UNANSWERABLE from anything else, ""."""
    value = row.number("answerable") if row.has("answerable") else int(kind != UNANSWERABLE)
    if value not in (0, 1):
        raise BadInput(f"{row.where}: answerable = {value}; expected 0 or 1")
    return "" if value else UNANSWERABLE


def _humans(row: Row) -> tuple[str, ...]:
    found = row.cells["answers"]
    texts = [one.get("answer") if isinstance(one, dict) else one for one in found] if isinstance(found, list) else []
    if len(texts) < 2 or not all(isinstance(text, str) for text in texts):
        raise BadInput(f"{row.where}: answers = {shown(found)}; expected several people's, texts or {{answer}}")
    return tuple(str(text) for text in texts)


def marking(rule: Callable[[str, Sequence[str]], tuple[str, float]]) -> Mark:
    """Make a rule of marking. Unparsed: the normalisation leaves nothing.

    Counted besides, of `unanswerable`: true positive, false positive, true negative, false negative.
    """

    def mark(questions: Sequence[Question], answers: Texts) -> list[Item]:
        items = []
        for question, text in zip(questions, in_order(questions, answers), strict=True):
            parsed, value = rule(text, question.gold)
            said, is_so = parsed == UNANSWERABLE, question.category == UNANSWERABLE
            cells = (said and is_so, said and not is_so, not said and not is_so, not said and is_so)
            items.append(item(question, parsed, value, counts=tuple(map(float, cells)), unparsed=not parsed))
        return items

    return mark


def measures(items: Sequence[Item]) -> list[Measure]:
    """Measure the mean score, each type's, and average precision and F1 of `unanswerable`."""
    rows_I, confused_IC = np.arange(len(items)), np.array([one.counts for one in items])
    return mean_and_facets(items) + [
        Measure(name=f"{UNANSWERABLE}.{name}", rows_I=rows_I, columns_IC=confused_IC, statistic=statistic)
        for name, statistic in (("average_precision", _average_precision), ("f1", f1))
    ]


def _average_precision(sums_RC: Floats) -> Floats:
    """Give recall * precision + (1 - recall) * share of positives: what a ranking is worth that knows two ranks only.

    The steps of the curve are as in scikit-learn's `average_precision_score`, which VizWiz's API calls; 0 without positives.
    """
    positives_R = sums_RC[:, 0] + sums_RC[:, 3]
    recall_R = share(sums_RC[:, 0], positives_R) / 100
    precision_R = share(sums_RC[:, 0], sums_RC[:, 0] + sums_RC[:, 1])
    return recall_R * precision_R + (1 - recall_R) * share(positives_R, sums_RC.sum(axis=1))


def submit(answers: Texts, questions: Path, out: Path) -> None:
    """Write the upload file of the test split, [{image, answer}], normalised as LLaVA does."""
    names = [_name(row) for row in read_rows(questions)]
    check_complete(names, answers)
    rows = [{"image": name, "answer": normalise_m4c(answers[name])} for name in names]
    write_aside(out, json.dumps(rows, ensure_ascii=False))


VIZWIZ = Benchmark(
    name="vizwiz",
    variants={
        name: Variant(meaning=meaning, read=read, mark=marking(rule), measures=measures)
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
