"""AI2D: 3,088 questions about diagrams of school science, four options each.

Two versions of the pictures: labels replaced by letters ("mask"), or left in, which is some ten points easier: the file
that is scored says which, so say it with the number. Source: lmms-eval `ai2d`; VLMEvalKit `AI2D_TEST`.
"""

from __future__ import annotations

import re
import string

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.cell_pictures import write_pictures
from tinyllava_core.evaluate.questions.questions import OPTION_LETTER, Files, Question
from tinyllava_core.evaluate.questions.table import Pictures, Row, question_of, read_rows
from tinyllava_core.evaluate.score.benchmarks.rules.letters import LETTERS, marking, vlmevalkit
from tinyllava_core.evaluate.score.scoring import Benchmark, Variant, mean_and_facets

_STARTS = re.compile(r"^\s*([A-Z])\.")
_NO_MARKS = str.maketrans("", "", string.punctuation)
_TRIMMED = ".:,()"


def read(files: Files) -> list[Question]:
    """Read the hub's table (question, options, answer as the option's number from 0, image) or VLMEvalKit's TSV."""
    pictures, questions = Pictures(files), []
    for row in read_rows(files.annotations):
        options = row.texts("options") if row.has("options") else row.options()
        asked = row.text("question")
        lines = [asked, *(f"{letter}. {text}" for letter, text in zip(LETTERS, options, strict=False))]
        questions.append(
            question_of(
                row,
                pictures.of(row, str(row.place)),
                question_id=row.place,
                text="\n".join(lines) + OPTION_LETTER,
                stem=asked,
                gold=(_gold(row, len(options)),),
                choices=options,
            )
        )
    return questions


def _gold(row: Row, num_options: int) -> str:
    if not row.text("answer").strip().isdecimal():
        return row.letter("answer", num_options)
    number = row.number("answer")
    if not 0 <= number < min(num_options, len(LETTERS)):
        raise BadInput(f"{row.where}: answer = {number} of {num_options} options; expected the number of one, from 0")
    return LETTERS[number]


def flexible(text: str, question: Question) -> str:
    """Read a letter at the start with a full stop, else the whole reply without its ASCII marks, in any case: lmms-eval's.

    `a`, `(A)`, `**A**`, `A. text` are A; `A text` and `Answer: A` are none.
    """
    found = _STARTS.match(text)
    said = (found.group(1) if found else text).lower().translate(_NO_MARKS)
    return said.upper() if len(said) == 1 and said.upper() in LETTERS[: len(question.choices)] else ""


def cambrian(text: str, question: Question) -> str:
    """Read the first character behind `answer is` or `answer:`, outer marks off: Cambrian's."""
    for phrase in ("answer is", "answer:"):
        _, there, rest = text.lower().partition(phrase)
        text = rest if there else text
    said = text.strip().strip(_TRIMMED).strip()[:1].upper()
    return said if said and said in LETTERS[: len(question.choices)] else ""


AI2D = Benchmark(
    name="ai2d",
    variants={
        name: Variant(meaning=meaning, read=read, mark=marking(extract), measures=mean_and_facets)
        for name, meaning, extract in (
            ("lmms-eval", "the letter, its marks aside, as the whole reply or before a full stop", flexible),
            ("vlmevalkit", "VLMEvalKit's letters without a judge", vlmevalkit),
            ("cambrian", "the first character, behind `answer is` if that is there", cambrian),
        )
    },
    default="lmms-eval",
    cluster="image",
    max_new_tokens=16,  # Source: lmms-eval `ai2d`
    suffix=OPTION_LETTER,
    write_pictures=write_pictures,
)
