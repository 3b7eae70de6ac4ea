"""MMMU: exam questions of 30 college subjects, 847 multiple choice and 53 open in the val split.

Where no choice can be read in a reply, the official parser draws one at random from a stream that depends on all replies
before; here the draw depends on a fixed seed and the question's id alone, so that a score can be had again.
Source: MMMU `eval_utils.py`, `main_eval_only.py`; TinyLLaVA `model_vqa_mmmu.py`.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinyllava_core.artifact import write_aside
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.answers import Texts, check_complete, in_order
from tinyllava_core.evaluate.questions.questions import (
    Files,
    Question,
    QuestionId,
    check_unique,
    key,
    read_json,
    shown,
    texts_of,
)
from tinyllava_core.evaluate.score.scoring import Benchmark, Item, Variant, item, mean_and_facets

SEED = 42  # of the random choice. Source: `eval_utils.py` seeds its stream with the same number
MULTIPLE_CHOICE = "multiple-choice"
DISCIPLINES = {
    "Art and Design": "Art Art_Theory Design Music",
    "Business": "Accounting Economics Finance Manage Marketing",
    "Science": "Biology Chemistry Geography Math Physics",
    "Health and Medicine": "Basic_Medical_Science Clinical_Medicine Diagnostics_and_Laboratory_Medicine Pharmacy "
    "Public_Health",
    "Humanities and Social Science": "History Literature Sociology Psychology",
    "Tech and Engineering": "Agriculture Architecture_and_Engineering Computer_Science Electronics Energy_and_Power "
    "Materials Mechanical_Engineering",
}  # Source: MMMU `data_utils.py`
_DISCIPLINE_OF = {subject: name for name, subjects in DISCIPLINES.items() for subject in subjects.split()}
_OUTER = (",", ".", "!", "?", ";", ":", "'")  # stripped one after the other, once each
_CUES = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_TRIVIAL = frozenset(_OUTER)
_NUMBERS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),  # with commas
    re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+"),  # scientific
    re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])"),  # plain
)
_LETTERS = tuple("ABCDEFGHI")  # of replies that can be scored without the options; no question has more
_MIN_WORDS = 5  # a reply must have more for the text of an option to be looked for in it


def read(files: Files) -> list[Question]:
    """Read `answer_dict_val.json` (the right answers) and TinyLLaVA's `anns_for_eval.json` (prompts, options, pictures).

    A folder with both, or the first as annotations and the second as questions file. Without the second, only replies
    that are the letter itself can be scored; without the first (the test split), nothing can. Raises BadInput.
    """
    answers, asked = _two_files(files)
    if asked is None and files.asking:
        raise BadInput(f"{files.annotations}: the prompts are needed to ask: anns_for_eval.json")
    if answers is None and asked is None:
        raise BadInput(f"{files.annotations}: expected MMMU's answer_dict_val.json or TinyLLaVA's anns_for_eval.json")
    rows = {key(row, "id", str, "anns_for_eval.json"): row for row in asked or ()}
    if asked is not None:
        check_unique([row["id"] for row in asked], "anns_for_eval.json")
    if answers is not None and rows and answers.keys() != rows.keys():
        raise BadInput(f"{files.annotations}: {len(answers)} answers and {len(rows)} prompts, of different questions")
    return [_question(name, (answers or {}).get(name), rows.get(name, {})) for name in (answers or rows)]


def _two_files(files: Files) -> tuple[dict[str, Any] | None, list[Any] | None]:
    beside = [files.annotations / name for name in ("answer_dict_val.json", "anns_for_eval.json")]
    paths = [path for path in beside if path.is_file()] if files.annotations.is_dir() else [files.annotations]
    if files.questions is not None:
        paths.append(files.questions)
    answers, asked = None, None
    for path in paths:
        whole = read_json(path)
        if isinstance(whole, list) and all(isinstance(row, dict) and "id" in row for row in whole):
            asked = whole
        elif isinstance(whole, dict) and all(isinstance(row, dict) and "ground_truth" in row for row in whole.values()):
            answers = whole
        else:
            raise BadInput(
                f"{path}: neither {{id: {{question_type, ground_truth}}}} nor [{{id, prompt, all_choices, ...}}]"
            )
    return answers, asked


def _question(name: str, answer: dict[str, Any] | None, row: dict[str, Any]) -> Question:
    where = f"question {name}"
    kind = key(answer or row, "question_type", str, where)
    truth = answer["ground_truth"] if answer else []
    gold = (truth,) if isinstance(truth, str) else texts_of(answer or {}, "ground_truth", where) if truth else ()
    options = key(row, "index2ans", dict, where) if row.get("index2ans") else {}
    letters = texts_of(row, "all_choices", where) if row.get("all_choices") else ()
    if not all(letter in options for letter in letters):
        raise BadInput(f"{where}: all_choices = {shown(letters)}; index2ans has {', '.join(options) or 'none of them'}")
    subject = "_".join(name.split("_")[1:-1])
    if subject not in _DISCIPLINE_OF:
        raise BadInput(f"{where}: no subject {subject!r} in MMMU; expected an id such as validation_Accounting_1")
    return Question(
        question_id=name,
        image=key(row, "image", str, where) if row.get("image") else None,
        text=key(row, "prompt", str, where) if "prompt" in row else "",
        gold=gold,
        category=kind,
        facets=(f"discipline.{_DISCIPLINE_OF[subject]}", f"subject.{subject}", f"type.{kind}"),
        choices=tuple(str(options[letter]) for letter in letters),
        group=f"question {name}",
    )


def parse_choice(reply: str, choices: Sequence[str]) -> str:
    """Read a choice's letter in a reply -> it, or nothing.

    `(B)`; else ` B `; else, in a reply of more than five words, an option's text. Several: the one that stands last.
    """
    for outer in _OUTER:
        reply = reply.strip(outer)
    reply = f" {reply} "
    letters = {chr(ord("A") + place): text for place, text in enumerate(choices)}
    for pattern in ("({})", " {} "):
        found = {letter: reply.rfind(pattern.format(letter)) for letter in letters}
        if max(found.values(), default=-1) >= 0:
            return max(found, key=lambda letter: found[letter])
    if len(reply.split()) <= _MIN_WORDS:
        return ""
    found = {letter: reply.lower().rfind(text.lower()) for letter, text in letters.items()}
    return max(found, key=lambda letter: found[letter]) if max(found.values(), default=-1) >= 0 else ""


def random_choice(question: Question) -> str:
    """Draw the letter that stands in for a reply without one: by seed and question id, whatever else was answered."""
    letters = [chr(ord("A") + place) for place in range(len(question.choices))]
    return random.Random(f"{SEED}/{question.question_id}").choice(letters)


def parse_open(reply: str) -> list[str | float]:
    """Read the possible answers in a reply to an open question: the tail behind a cue word of each line, and numbers.

    The whole is lower-cased first, so a line is never cut into sentences, whatever the official pattern was meant for.
    """
    reply = reply.strip().strip(".").lower()
    lines = reply.split("\n")
    tails = []
    for place, line in enumerate(lines):
        cues = (*_CUES, "=") if place == len(lines) - 1 else _CUES
        ends = [line.split(cue)[-1].strip() for cue in cues if cue in line]
        shortest = ""
        for end in ends:
            shortest = end if not shortest or len(end) < len(shortest) else shortest
        if shortest and shortest not in _TRIVIAL:
            tails.append(shortest)
    if not tails:
        tails = [reply]
    numbers = [number for tail in tails for pattern in _NUMBERS for number in pattern.findall(tail)]
    return list(dict.fromkeys(value for text in (*tails, *numbers) for value in normalise(text)))


def normalise(text: str) -> list[str | float]:
    """Bring an answer into the form that is compared: a number rounded to two decimals, or lower-cased text.

    A single character becomes two, with a space before or after, so that it is not found inside every word.
    """
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        lowered = text.lower()
        return [f" {lowered}", f"{lowered} "] if len(lowered) == 1 else [lowered]


def right_open(reply: str, gold: Sequence[str]) -> bool:
    """Tell whether a right answer is contained in one that was read, or equals a number that was."""
    wanted = [value for text in gold for value in normalise(text)]
    return any(
        any(isinstance(one, str) and one in said for one in wanted) if isinstance(said, str) else said in wanted
        for said in parse_open(reply)
    )


def mark(questions: Sequence[Question], answers: Texts) -> list[Item]:
    """Read every reply. Unparsed: no choice found, so one was drawn.

    Raises BadInput where a reply to a choice is more than a letter and the options are not known.
    """
    items = []
    for question, text in zip(questions, in_order(questions, answers), strict=True):
        if question.category != MULTIPLE_CHOICE:
            said = " | ".join(str(value) for value in parse_open(text))
            items.append(item(question, said, float(right_open(text, question.gold)), unparsed=not text.strip()))
            continue
        if not question.choices and text not in _LETTERS:
            raise BadInput(
                f"mmmu: the reply to {question.question_id} is {shown(text)}, and without its options no letter can be "
                "read in it; give TinyLLaVA's anns_for_eval.json with --questions"
            )
        letter = parse_choice(text, question.choices) if question.choices else text
        drawn = not letter and bool(question.choices)
        letter = random_choice(question) if drawn else letter
        items.append(item(question, letter, float(letter in question.gold), unparsed=drawn))
    return items


def own_answers(path: Path, questions: Sequence[Question]) -> dict[QuestionId, str]:
    """Read MMMU's own result format: {id: answer}."""
    whole = read_json(path)
    if not isinstance(whole, dict) or not all(isinstance(text, str) for text in whole.values()):
        raise BadInput(f"{path}: expected LLaVA's JSON lines, or {{id: answer, ...}} with texts")
    return dict(whole)


def submit(answers: Texts, questions: Path, out: Path) -> None:
    """Write the upload file of the test split: {id: letter, or the reply to an open question}, one for every question."""
    asked = read(Files(annotations=questions))
    check_complete([question.question_id for question in asked], answers)
    said = {}
    for question in asked:
        text = answers[question.question_id]
        if question.category == MULTIPLE_CHOICE:
            text = parse_choice(text, question.choices) or random_choice(question)
        said[question.question_id] = text
    write_aside(out, json.dumps(said, indent=1, ensure_ascii=False))


MMMU = Benchmark(
    name="mmmu",
    variants={
        "official": Variant(
            meaning="the official parser, its random choice seeded by question", read=read, mark=mark,
            measures=mean_and_facets,
        )
    },
    default="official",
    cluster="question",
    max_new_tokens=1024,  # Source: TinyLLaVA `model_vqa_mmmu.py`
    own_answers=own_answers,
    submit=submit,
)  # fmt: skip
