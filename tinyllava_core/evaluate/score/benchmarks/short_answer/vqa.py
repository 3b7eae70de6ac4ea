"""VQAv2: short answers to open questions about COCO pictures, ten people's answers each.

Scored here on val (or train); the right answers of test-dev and test are not public, an upload file is written for them.
LLaVA's training data has most of val's pictures, so a score on val flatters it. The normalisation is in vqa_text.py.
Source: VQA `vqaEval.py`, `vqa.py`; LLaVA `convert_vqav2_for_submission.py`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import msgspec

from tinyllava_core.artifact import write_aside
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.answers import Texts, in_order, read_pairs
from tinyllava_core.evaluate.questions.questions import (
    SHORT_ANSWER,
    Files,
    Question,
    QuestionId,
    check_unique,
    key,
    official,
    picture_finder,
    read_bytes,
    read_json,
    read_json_lines,
    read_row,
)
from tinyllava_core.evaluate.score.benchmarks.rules.vqa_text import always_vqa, normalise_m4c, official_vqa
from tinyllava_core.evaluate.score.scoring import Benchmark, Item, Variant, item, mean_and_facets


def read(files: Files) -> list[Question]:
    """Read `v2_mscoco_*_annotations.json` and `v2_OpenEnded_mscoco_*_questions.json`, or a folder with both.

    To score, the questions file may be left out: it only holds the wording. Without annotations (a questions file, or a
    folder without them) there are no right answers. Raises BadInput on another shape, or if the two are not of one split.
    """
    annotations, asked = _two_files(files)
    if annotations is None and asked is None:
        raise BadInput(
            f"{files.annotations}: expected VQA's annotations (key 'annotations') or questions (key 'questions')"
        )
    if asked is None and files.asking:
        raise BadInput(
            f"{files.annotations}: the questions file is needed to ask: v2_OpenEnded_mscoco_*_questions.json"
        )
    wording = _wording(asked, files) if asked else {}
    rows = annotations or asked
    assert rows is not None
    folder = rows.subtype.replace("test-dev", "test")  # both test splits are about the same pictures
    image = picture_finder(files.images, ("", f"{folder}/"), (".jpg",))
    path = str(files.annotations)
    questions = [_question(row, place, wording, folder, image, path) for place, row in enumerate(rows)]
    check_unique([question.question_id for question in questions], str(files.annotations))
    if annotations and asked and len(wording) != len(questions):
        raise BadInput(
            f"{files.annotations}: {len(questions)} annotations, but {len(wording)} questions; are both of one split?"
        )
    return questions


def _wording(asked: _Rows, files: Files) -> dict[int, str]:
    try:
        found = {row["question_id"]: row["question"] for row in asked}
        fits = set(map(type, found)) <= {int} and set(map(type, found.values())) <= {str}
    except (TypeError, KeyError):
        fits = False
    if not fits:
        raise BadInput(
            f"{files.questions or files.annotations}: expected questions with a number question_id and a text question"
        )
    if len(found) != len(asked):
        check_unique([row["question_id"] for row in asked], str(files.questions or files.annotations))
    return found


class _Official(msgspec.Struct):
    """One of VQA's two files, its rows not made yet: those of val at once would take a gigabyte."""

    data_subtype: Any = "val2014"
    annotations: list[msgspec.Raw] | None = None
    questions: list[msgspec.Raw] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """The rows of one of the two files; each is made when its turn comes."""

    path: Path
    subtype: str
    rows: Sequence[Any]  # as they are, or not made yet

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Any]:
        for place, row in enumerate(self.rows):
            yield read_row(row, f"{self.path}, [{place}]", "an object") if isinstance(row, msgspec.Raw) else row


def _read_rows(path: Path) -> tuple[str, _Rows]:
    """Read a file -> (`annotations` or `questions`, its rows)."""
    try:
        found = msgspec.json.decode(read_bytes(path), type=_Official)
        whole = {name: value for name in found.__struct_fields__ if (value := getattr(found, name)) is not None}
    except (
        msgspec.MsgspecError,
        UnicodeDecodeError,
    ):  # json takes a few things more, and says what is wrong with the rest
        whole = read_json(path)
    kind = next((kind for kind in ("annotations", "questions") if isinstance(whole, dict) and kind in whole), None)
    if kind is None or not isinstance(whole[kind], list):
        raise BadInput(f"{path}: expected VQA's {{'annotations': [...]}} or {{'questions': [...]}}; use the v2 files")
    return kind, _Rows(path=path, subtype=str(whole.get("data_subtype", "val2014")), rows=whole[kind])


def _two_files(files: Files) -> tuple[_Rows | None, _Rows | None]:
    """Give the annotations and the questions, each None where it is not there."""
    if files.annotations.is_dir():
        found = [*files.annotations.glob("*annotations.json"), *files.annotations.glob("*questions.json")]
        if not found:
            raise BadInput(f"{files.annotations}: no *annotations.json and no *questions.json in this folder")
        paths = [official(files.annotations, f"*{kind}.json") for kind in ("annotations", "questions")
                 if any(kind in path.name for path in found)]  # fmt: skip
    else:
        paths = [files.annotations]
    if files.questions is not None:
        paths.append(files.questions)
    by_kind = dict(map(_read_rows, paths))
    return by_kind.get("annotations"), by_kind.get("questions")


def _question(
    row: Any, place: int, wording: dict[int, str], subtype: str, image: Callable[[str], str], path: str
) -> Question:
    where = f"{path}, [{place}]"
    if not isinstance(row, dict):
        raise BadInput(f"{where}: found a JSON {type(row).__name__}; expected an object")
    question_id = key(row, "question_id", int, where)
    if wording and question_id not in wording:
        raise BadInput(f"{where}: question_id {question_id} is not among the questions; are both files of one split?")
    gold: tuple[str, ...] = ()
    facets: tuple[str, ...] = ()
    if "answers" in row:
        gold = _humans(row["answers"], where)
        facets = _facets(key(row, "answer_type", str, where), key(row, "question_type", str, where))
    return Question(
        question_id=question_id,
        image=image(f"COCO_{subtype}_{key(row, 'image_id', int, where):012d}"),
        text=wording[question_id] + SHORT_ANSWER if wording else "",
        gold=gold,
        facets=facets,
    )


@cache
def _facets(answer_type: str, question_type: str) -> tuple[str, str]:
    return f"answer_type.{answer_type}", f"question_type.{question_type}"


def _humans(answers: Any, where: str) -> tuple[str, ...]:
    """Give the texts. Raises BadInput on equal answer ids: the official script takes a person's equals for that person."""
    try:
        texts = tuple([answer["answer"] for answer in answers])
        num_ids = len({answer["answer_id"] for answer in answers})
    except (TypeError, KeyError, IndexError):
        raise BadInput(f"{where}: answers: expected objects with answer and answer_id") from None
    if num_ids != len(texts):
        raise BadInput(f"{where}: an answer_id occurs twice; the metric leaves each person out in turn")
    if set(map(type, texts)) != {str}:
        raise BadInput(f"{where}: answers: expected texts, and at least two")
    if len(texts) < 2:
        raise BadInput(f"{where}: {len(texts)} answers; the metric leaves each of several people out in turn")
    return tuple(map(sys.intern, texts))  # most answers are given again and again


def mark(questions: Sequence[Question], answers: Texts, *, first: str) -> list[Item]:
    """Score each answer. `first`: what is done before the official rule. Unparsed: the normalisation leaves nothing."""
    items = []
    for question, text in zip(questions, in_order(questions, answers), strict=True):
        if first == "always":
            parsed, value = always_vqa(text, question.gold)
        else:
            parsed, value = official_vqa(normalise_m4c(text) if first == "m4c" else text, question.gold)
        items.append(item(question, parsed, value, unparsed=not parsed))
    return items


def submit(answers: Texts, questions: Path, out: Path) -> None:
    """Write the upload file: every id of the questions file, normalised as LLaVA does, '' for one without an answer.

    `questions`: the official test2015 questions, or LLaVA's JSON lines of them; where test2015 lies beside test-dev2015, as
    in VQA's own zip, it is taken: the server asks for all of it. Raises BadInput on an answer to no question.
    """
    whole = questions.with_name(questions.name.replace("test-dev2015", "test2015"))
    questions = whole if whole.is_file() else questions
    if questions.suffix == ".jsonl":
        ids = [
            key(row, "question_id", int, f"{questions}, line {number}") for number, row in read_json_lines(questions)
        ]
    else:
        _, asked = _two_files(Files(annotations=questions))
        if asked is None:
            raise BadInput(f"{questions}: expected the official questions (key 'questions') of test2015")
        ids = list(_wording(asked, Files(annotations=questions)))
    check_unique(ids, str(questions))
    foreign = answers.keys() - set(ids)
    if foreign:
        raise BadInput(
            f"answers: {len(foreign)} are to no question of {questions} (one of them: {min(foreign, key=str)!r})"
        )
    rows = [{"question_id": one, "answer": normalise_m4c(answers[one]) if one in answers else ""} for one in ids]
    write_aside(out, json.dumps(rows, ensure_ascii=False))


def own_answers(path: Path, questions: Sequence[Question]) -> dict[QuestionId, str]:
    """Read VQA's own result format: a JSON array of {question_id, answer}."""
    rows = read_json(path)
    if not isinstance(rows, list):
        raise BadInput(f"{path}: expected LLaVA's JSON lines, or a JSON array of {{question_id, answer}}")
    return read_pairs(rows, "question_id", "answer", path)


def _variant(meaning: str, first: str) -> Variant:
    return Variant(meaning=meaning, read=read, mark=partial(mark, first=first), measures=mean_and_facets)


VQA = Benchmark(
    name="vqa",
    variants={
        "llava": _variant("LLaVA's: M4C's normalisation of the answer, then the official script", "m4c"),
        "official": _variant("the official script on the answer as it is: nothing normalised where all ten agree", ""),
        "lmms-eval": _variant("lmms-eval's arithmetic: both sides normalised always", "always"),
    },
    default="llava",
    cluster="image",
    suffix=SHORT_ANSWER,
    own_answers=own_answers,
    submit=submit,
)
