"""LLaVA-Bench-in-the-Wild: 60 open questions about 24 pictures; a judge compares each answer with GPT-4's own.

The score is the mean grade of the model's answers in percent of the reference answers' mean grade, so it can pass 100;
both means are rounded to three places before they are divided, as in the official summary.
Comparable only for the same judge. Source: LLaVA `eval_gpt_review_bench.py`, `summarize_gpt_review.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.answers import Texts, in_order
from tinyllava_core.evaluate.questions.questions import (
    Files,
    Question,
    check_unique,
    key,
    picture_finder,
    read_json,
    read_json_lines,
    texts_of,
)
from tinyllava_core.evaluate.score.judge import ANSWER, Judge
from tinyllava_core.evaluate.score.scoring import Benchmark, Item, Variant, facet_rows, item
from tinyllava_core.evaluate.score.statistics import Floats, Measure

TEMPERATURE, MAX_TOKENS = 0.2, 1024
SYSTEM = (
    "You are a helpful and precise assistant for checking the quality of the answer."  # Source: the official script
)
_FILES = ("questions.jsonl", "context.jsonl", "answers_gpt4.jsonl", "rule.json")


def read(files: Files) -> list[Question]:
    """Read the official folder: questions.jsonl, context.jsonl, answers_gpt4.jsonl, and LLaVA's rule.json.

    Raises BadInput if one is missing, or a question has no context, reference answer or rule.
    """
    missing = [name for name in _FILES if not (files.annotations / name).is_file()]
    if missing:
        raise BadInput(
            f"{files.annotations}: no {', '.join(missing)}; expected the benchmark's three files and LLaVA's "
            "llava/eval/table/rule.json in one folder"
        )
    questions, contexts, references = (files.annotations / name for name in _FILES[:3])
    captions = _by(contexts, "image", "caption", (str, list))
    answers = _by(references, "question_id", "text", str)
    rules = read_json(files.annotations / _FILES[3])
    image = picture_finder(files.images, ("", "images/"), ("",))
    found = []
    for number, row in read_json_lines(questions):
        where = f"{questions}, line {number}"
        question_id, name = key(row, "question_id", (int, str), where), key(row, "image", str, where)
        category = key(row, "category", str, where)
        rule = rules.get(f"llava_bench_{category}") if isinstance(rules, dict) else None
        if name not in captions or question_id not in answers or not isinstance(rule, dict):
            raise BadInput(f"{where}: no context, reference answer or rule for it in the other three files")
        text = key(row, "text", str, where)
        found.append(
            Question(
                question_id=question_id,
                image=image(name),
                text=text,
                gold=(answers[question_id],),
                category=category,
                facets=(category,),
                context=_request(captions[name], text, answers[question_id], rule, str(files.annotations / _FILES[3])),
            )
        )
    check_unique([question.question_id for question in found], str(questions))
    return found


def _by(path: Path, name: str, value: str, kind: type | tuple[type, ...]) -> dict[Any, Any]:
    """Read one file of the benchmark -> one of its columns by another."""
    found = {}
    for number, row in read_json_lines(path):
        where = f"{path}, line {number}"
        found[key(row, name, (int, str), where)] = key(row, value, kind, where)
        if isinstance(row[value], list):
            texts_of(row, value, where)
    return found


def _request(caption: str | list[str], question: str, reference: str, rule: dict[str, Any], where: str) -> str:
    """Lay out what the judge is told; the model's answer goes where ANSWER stands."""
    role, asked = (key(rule, name, str, where) for name in ("role", "prompt"))
    blocks = [("Context", caption if isinstance(caption, str) else "\n".join(caption)), ("Question", question)]
    text = "".join(f"[{name}]\n{body}\n\n" for name, body in blocks)
    for place, body in ((1, reference), (2, ANSWER)):
        text += f"[{role} {place}]\n{body}\n\n[End of {role} {place}]\n\n"
    return f"{text}[System]\n{asked}\n\n"


def parse(reply: str) -> tuple[float, float] | None:
    """Read a judge's reply -> (reference's grade, model's grade); None unless its first line is exactly two numbers (`nan` is none).

    Commas become spaces, single spaces divide: `8 9` and `8,9` are read; `8, 9`, a space at the end and `8/10 9` are not.
    """
    words = reply.split("\n")[0].replace(",", " ").split(" ")
    try:
        first, second = (float(word) for word in words)
    except ValueError:
        return None
    return (first, second) if math.isfinite(first) and math.isfinite(second) else None


def judged(questions: Sequence[Question], answers: Texts, judge: Judge) -> list[Item]:
    """Grade every answer once. Unparsed: the reply held no two grades; both count as -1, and stay in the means."""
    items = []
    for question, text in zip(questions, in_order(questions, answers), strict=True):
        messages = [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": question.context.replace(ANSWER, text)},
        ]
        pair = parse(judge.ask(messages, temperature=TEMPERATURE, max_tokens=MAX_TOKENS))
        reference, model = pair or (-1.0, -1.0)
        worth = min(1.0, max(0.0, model / 10))
        items.append(
            item(question, f"{reference:g} {model:g}", worth, counts=(model, reference), unparsed=pair is None)
        )
    return items


def measures(items: Sequence[Item]) -> list[Measure]:
    """Measure the relative score, and both sides' mean grade times ten: of all questions and of each category."""
    found = []
    for name, rows in [("all", list(range(len(items)))), *facet_rows(items).items()]:
        sums_IC = np.array([(*items[place].counts, 1.0) for place in rows])
        named = {"relative" if name == "all" else f"relative.{name}": _relative}
        named |= {f"{side}.{name}": partial(_tenfold, side=place) for place, side in enumerate(("model", "reference"))}
        found += [
            Measure(name=name, rows_I=np.array(rows), columns_IC=sums_IC, statistic=statistic)
            for name, statistic in named.items()
        ]
    return found


def _means(sums_RC: Floats) -> Floats:
    """Give the mean grade of the model and of the reference, to three places as the official summary rounds them -> [R, 2]."""
    return np.round(sums_RC[:, :2] / np.maximum(sums_RC[:, 2:], 1), 3)


def _relative(sums_RC: Floats) -> Floats:
    """Give the ratio of the two in percent, 0 where the reference's is 0 (the official summary then stops)."""
    model_R, reference_R = _means(sums_RC).T
    return 100 * np.divide(model_R, reference_R, out=np.zeros_like(model_R), where=reference_R != 0)


def _tenfold(sums_RC: Floats, side: int) -> Floats:
    return 10 * _means(sums_RC)[:, side]


LLAVABENCH = Benchmark(
    name="llavabench",
    variants={
        "official": Variant(
            meaning="mean grade in percent of the reference answers' mean grade", read=read, judged=judged,
            measures=measures,
        )
    },
    default="official",
    cluster="image",
    max_new_tokens=1024,  # Source: LLaVA `model_vqa.py`
)  # fmt: skip
