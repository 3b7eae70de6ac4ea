"""TextVQA: can the model read what is written in the picture? Ten people's answers per question, M4C's soft accuracy.

Variant `no-ocr` (the default) asks the question alone. LLaVA's and TinyLLaVA's published numbers are of `ocr`: the prompt
also lists what an OCR system read in the picture, which is worth some ten points. Both are scored alike.
Source: TextVQA 0.5.1; LLaVA `eval_textvqa.py` and `m4c_evaluator.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tinyllava_core.artifact import write_aside
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.answers import Join, Texts, check_complete, in_order, read_pairs
from tinyllava_core.evaluate.questions.questions import (
    SHORT_ANSWER,
    Files,
    Question,
    QuestionId,
    check_unique,
    key,
    official,
    picture_finder,
    read_json,
    read_json_lines,
    shown,
    texts_of,
)
from tinyllava_core.evaluate.score.benchmarks.rules.vqa_text import m4c
from tinyllava_core.evaluate.score.scoring import Benchmark, Item, Variant, item, mean_and_facets

NUM_HUMANS = 10
OCR_MARK = "Reference OCR token: "
_FOLDERS = ("", "train_images/")  # the official archive holds its pictures in the second
_OLD_PROMPT = re.compile(r"Question: (.*?) Short answer:", re.DOTALL)


def read(files: Files, *, ocr: bool) -> list[Question]:
    """Read the official JSON: {"data": [{question_id, image_id, question, answers: ten texts, ...}, ...]}.

    The image is `<image_id>.jpg` or `.png` under the image root, whichever is there. The OCR tokens come from the rows'
    own `ocr_tokens`, from the official Rosetta file, or from LLaVA's question file (`files.questions`, or beside the
    annotations in a folder). A `category`, which the official file does not have, gives a sub-score of its own.
    Raises BadInput on another shape or an id that occurs twice.
    """
    path = official(files.annotations, "TextVQA_0.5.1_*.json")
    rows = _data(path)
    tokens = _tokens(files, rows) if ocr and files.asking else {}
    image = picture_finder(files.images, _FOLDERS, (".jpg", ".png"))
    questions = []
    for place, row in enumerate(rows):
        where = f"{path}, data[{place}]"
        if not isinstance(row, dict):
            raise BadInput(f"{where}: found a JSON {type(row).__name__}; expected an object")
        category = key(row, "category", str, where) if "category" in row else ""
        image_id = str(key(row, "image_id", (int, str), where))
        text = asked = key(row, "question", str, where)
        if tokens:
            if image_id not in tokens:
                raise BadInput(f"{where}: no OCR tokens for image {image_id}; is the OCR file of the same split?")
            text += f"\n{OCR_MARK}{', '.join(tokens[image_id])}"
        questions.append(
            Question(
                question_id=key(row, "question_id", (int, str), where),
                llava_id=image_id,
                image=image(image_id),
                text=text + SHORT_ANSWER,
                stem=asked,
                gold=_humans(row, where),
                category=category,
                facets=(category,) if category else (),
            )
        )
    check_unique([question.question_id for question in questions], str(path))
    return questions


def _data(path: Path) -> list[Any]:
    whole = read_json(path)
    if not isinstance(whole, dict) or not isinstance(whole.get("data"), list):
        found = f"keys {', '.join(whole)}" if isinstance(whole, dict) else f"a JSON {type(whole).__name__}"
        raise BadInput(f"{path}: expected TextVQA's {{'data': [...]}}, found {found}; use TextVQA_0.5.1_val.json")
    if not whole["data"]:
        raise BadInput(f"{path}: 'data' is empty; expected questions")
    return list(whole["data"])


def _humans(row: Mapping[str, Any], where: str) -> tuple[str, ...]:
    if "answers" not in row:
        return ()  # the test split's are not public
    answers = key(row, "answers", list, where)
    if len(answers) != NUM_HUMANS or not all(isinstance(answer, str) for answer in answers):
        raise BadInput(
            f"{where}: answers = {shown(answers)}; expected {NUM_HUMANS} texts, which the metric is defined on"
        )
    return tuple(answers)


def _tokens(files: Files, rows: Sequence[Any]) -> dict[str, list[str]]:
    """Give each image's OCR tokens. Raises BadInput if there is no file of them."""
    if all(isinstance(row, dict) and "ocr_tokens" in row for row in rows):
        return _tokens_of(rows, files.annotations)
    path = files.questions
    if path is None and files.annotations.is_dir():
        beside = [*files.annotations.glob("TextVQA_Rosetta_OCR_*.json"), *files.annotations.glob("*_ocr.jsonl")]
        path = beside[0] if beside else None
    if path is None:
        raise BadInput(
            f"{files.annotations}: variant ocr needs the OCR tokens: TextVQA_Rosetta_OCR_v0.2_val.json or LLaVA's "
            "llava_textvqa_val_v051_ocr.jsonl, beside the annotations in one folder or as the questions file"
        )
    if path.suffix == ".jsonl":
        lines = ((f"{path}, line {number}", row) for number, row in read_json_lines(path))
        return {
            str(key(row, "question_id", (int, str), where)): _from_prompt(key(row, "text", str, where), where)
            for where, row in lines
        }
    return _tokens_of(_data(path), path)


def _tokens_of(rows: Sequence[Any], path: Path) -> dict[str, list[str]]:
    found = {}
    for place, row in enumerate(rows):
        where = f"{path}, data[{place}]"
        if not isinstance(row, dict):
            raise BadInput(f"{where}: found a JSON {type(row).__name__}; expected an object")
        found[str(key(row, "image_id", (int, str), where))] = list(texts_of(row, "ocr_tokens", where))
    return found


def _from_prompt(text: str, where: str) -> list[str]:
    line = next((line for line in text.split("\n") if line.startswith(OCR_MARK)), None)
    if line is None:
        raise BadInput(f"{where}: no line {OCR_MARK!r} in the text; expected LLaVA's question file with OCR tokens")
    return line.removeprefix(OCR_MARK).split(", ")


def question_of(prompt: str, where: str) -> str:
    """Recover the question from a prompt, lower-cased, as LLaVA's script does. Raises BadInput on any other prompt.

    Three kinds: `OCR tokens: ... Question: ... Short answer:`; three lines with the OCR tokens among them; two lines.
    """
    lines = prompt.split("\n")
    found = None
    if prompt.startswith("OCR tokens: "):
        matches = _OLD_PROMPT.findall(prompt)
        found = matches[0] if len(matches) == 1 else None
    elif OCR_MARK in prompt and len(lines) == 3:
        found = lines[1] if lines[0].startswith(OCR_MARK) else lines[0]
    elif len(lines) == 2:
        found = lines[0]
    if found is None:
        raise BadInput(
            f"{where}: cannot find the question in the prompt ({len(lines)} lines); expected the bare question, OCR tokens "
            "or not, and the suffix, without a chat template"
        )
    return found.lower()


def join(questions: Sequence[Question]) -> Join:
    """Match LLaVA's answers, whose question_id is the image's, by image and question; our own by their id."""
    known = {question.question_id for question in questions}
    by_prompt: dict[tuple[str, str], QuestionId] = {}
    for question in questions:
        by_prompt[str(question.llava_id), question.stem.lower()] = question.question_id

    def find(question_id: QuestionId, prompt: str, where: str) -> QuestionId:
        if question_id in known:
            return question_id
        pair = str(question_id), question_of(prompt, where)
        if pair not in by_prompt:
            raise BadInput(
                f"{where}: no question {pair[1]!r} about image {pair[0]!r} in the annotations; the same split?"
            )
        return by_prompt[pair]

    return find


def variant_of(prompts: Collection[str]) -> str | None:
    """Tell by the prompts of an answer file which variant it is. Raises BadInput where some list OCR tokens, some do not."""
    listing = sum(OCR_MARK.strip() in prompt or prompt.startswith("OCR tokens: ") for prompt in prompts)
    if 0 < listing < len(prompts):
        raise BadInput(
            f"answers: {listing} of {len(prompts)} prompts list OCR tokens, the others do not; expected one way for all"
        )
    return ("ocr" if listing else "no-ocr") if prompts else None


def mark(questions: Sequence[Question], answers: Texts) -> list[Item]:
    """Score with M4C's soft accuracy. Unparsed: the normalisation leaves nothing."""
    items = []
    for question, text in zip(questions, in_order(questions, answers), strict=True):
        parsed, value = m4c(text, question.gold)
        items.append(item(question, parsed, value, unparsed=not parsed))
    return items


def own_answers(path: Path, questions: Sequence[Question]) -> dict[QuestionId, str]:
    """Read TextVQA's own result format: a JSON array of {question_id, answer}."""
    rows = read_json(path)
    if not isinstance(rows, list):
        raise BadInput(f"{path}: expected LLaVA's JSON lines, or a JSON array of {{question_id, answer}}")
    return read_pairs(rows, "question_id", "answer", path)


def submit(answers: Texts, questions: Path, out: Path) -> None:
    """Write the upload file of the test split: [{question_id, answer}], one for every question of the official file."""
    ids = [
        key(row if isinstance(row, dict) else {}, "question_id", (int, str), f"{questions}, data[{place}]")
        for place, row in enumerate(_data(questions))
    ]
    check_complete(ids, answers)
    rows = [{"question_id": question_id, "answer": answers[question_id]} for question_id in ids]
    write_aside(out, json.dumps(rows, ensure_ascii=False))


def _variant(meaning: str, *, ocr: bool) -> Variant:
    return Variant(meaning=meaning, read=partial(read, ocr=ocr), mark=mark, measures=mean_and_facets)


TEXTVQA = Benchmark(
    name="textvqa",
    variants={
        "no-ocr": _variant("asked without OCR tokens", ocr=False),
        "ocr": _variant("asked with the OCR tokens that LLaVA's question file gives away", ocr=True),
    },
    default="no-ocr",
    cluster="image",
    suffix=SHORT_ANSWER,
    join=join,
    variant_of=variant_of,
    own_answers=own_answers,
    submit=submit,
)
