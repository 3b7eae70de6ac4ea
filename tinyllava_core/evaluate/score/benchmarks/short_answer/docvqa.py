"""DocVQA and InfographicVQA, val: what stands in a scanned page or an infographic? ANLS, which forgives slips of reading.

The test splits' answers are hidden: the upload file of the Robust Reading Competition is written. Rules: rules/distance.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from tinyllava_core.artifact import write_aside
from tinyllava_core.evaluate.questions.answers import Texts, check_complete, in_order, read_pairs
from tinyllava_core.evaluate.questions.cell_pictures import write_pictures
from tinyllava_core.evaluate.questions.questions import (
    SHORT_ANSWER,
    Files,
    Question,
    QuestionId,
    check_unique,
    read_json,
)
from tinyllava_core.evaluate.questions.table import Pictures, Row, question_of, read_rows
from tinyllava_core.evaluate.score.benchmarks.rules.distance import anls_lmms, anls_official, anls_pix2struct
from tinyllava_core.evaluate.score.scoring import Benchmark, Item, Mark, Variant, item, mean_and_facets

_FOLDERS = ("", "documents/", "images/")
_KINDS = (
    "question_types",
    "answer_type",
    "evidence",
    "operation/reasoning",
)  # lists of names; an item may have several


def read(files: Files) -> list[Question]:
    """Read `val_v1.0.json`, `infographicsVQA_val_v1.0.json` or the hub's rows: questionId, question, answers, a picture's name."""
    pictures, questions = Pictures(files, _FOLDERS, ("image", "image_local_name")), []
    for row in read_rows(files.annotations):
        question_id = row.number("questionId")
        questions.append(
            question_of(
                row,
                _pictures(row, pictures, question_id, files),
                question_id=question_id,
                text=row.text("question") + SHORT_ANSWER,
                gold=row.texts("answers") if row.has("answers") else (),
                facets=tuple(f"{name}.{kind}" for name in _KINDS if row.has(name) for kind in row.texts(name)),
            )
        )
    check_unique([question.question_id for question in questions], str(files.annotations))
    return questions


def _pictures(row: Row, pictures: Pictures, question_id: int, files: Files) -> tuple[str, ...]:
    return (f"{row.place}.jpg",) if row.embedded else pictures.of(row, str(question_id))


def marking(worth: Callable[[str, Sequence[str]], float]) -> Mark:
    """Make a rule of marking. Unparsed: an empty reply."""

    def mark(questions: Sequence[Question], answers: Texts) -> list[Item]:
        pairs = zip(questions, in_order(questions, answers), strict=True)
        return [
            item(question, text.strip(), worth(text, question.gold), unparsed=not text.strip())
            for question, text in pairs
        ]

    return mark


def own_answers(path: Path, questions: Sequence[Question]) -> dict[QuestionId, str]:
    """Read the competition's own result format: a JSON array of {questionId, answer}."""
    rows = read_json(path)
    return read_pairs(rows if isinstance(rows, list) else [rows], "questionId", "answer", path)


def submit(answers: Texts, questions: Path, out: Path) -> None:
    """Write the upload file: [{questionId, answer}], one for every question of the official file."""
    ids = [row.number("questionId") for row in read_rows(questions)]
    check_complete(ids, answers)
    write_aside(out, json.dumps([{"questionId": one, "answer": answers[one]} for one in ids], ensure_ascii=False))


def _benchmark(name: str) -> Benchmark:
    return Benchmark(
        name=name,
        variants={
            variant: Variant(meaning=meaning, read=read, mark=marking(worth), measures=mean_and_facets)
            for variant, meaning, worth in (
                ("official", "ANLS of the competition's script; exactly one half is kept", anls_official),
                ("lmms-eval", "the same, the reply's outer blanks off first", anls_lmms),
                ("pix2struct", "the paper's formula: lower case only, exactly one half is nothing", anls_pix2struct),
            )
        },
        default="official",
        cluster="image",
        max_new_tokens=32,  # Source: lmms-eval `docvqa`, `infovqa`
        suffix=SHORT_ANSWER,
        own_answers=own_answers,
        submit=submit,
        write_pictures=write_pictures,
    )


DOCVQA, INFOVQA = _benchmark("docvqa"), _benchmark("infovqa")
