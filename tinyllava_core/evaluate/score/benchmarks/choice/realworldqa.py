"""RealWorldQA: 765 questions about pictures taken from cars and elsewhere; options, words or numbers.

The questions bring their own instruction. There is no authors' scorer. Source: lmms-eval `realworldqa`; Cambrian.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from tinyllava_core.evaluate.questions.answers import Texts, in_order
from tinyllava_core.evaluate.questions.cell_pictures import write_pictures
from tinyllava_core.evaluate.questions.questions import Files, Question
from tinyllava_core.evaluate.questions.table import Pictures, question_of, read_rows
from tinyllava_core.evaluate.score.benchmarks.rules.letters import lmms, vlmevalkit
from tinyllava_core.evaluate.score.scoring import Benchmark, Item, Mark, Variant, item, mean_and_facets

LETTERS = "ABCD"
_OPTION = re.compile(r"^([A-D])\. (.*)$", re.MULTILINE)
_TRIMMED = ".:,()"


def read(files: Files) -> list[Question]:
    """Read the hub's rows: question, answer, image; the row's number is the id."""
    pictures, questions = Pictures(files), []
    for row in read_rows(files.annotations):
        asked, gold = row.text("question").strip(), row.text("answer").strip()
        kind = "letter" if gold.upper() in tuple(LETTERS) else "open"
        questions.append(
            question_of(
                row,
                pictures.of(row, str(row.place)),
                question_id=row.place,
                text=asked,
                gold=(gold.upper() if kind == "letter" else gold,),
                choices=row.options() or tuple(text.strip() for _, text in _OPTION.findall(asked)),
                category=kind,
                facets=(f"type.{kind}",),
            )
        )
    return questions


def by_lmms(text: str, question: Question) -> str:
    """Read a letter by lmms-eval's priorities; to an open question the reply, lower-cased, final full stops off."""
    return lmms(text, LETTERS) if question.category == "letter" else text.lower().strip().rstrip(".")


def by_vlmevalkit(text: str, question: Question) -> str:
    """Read a letter by VLMEvalKit's rule where the question lists options, else as lmms-eval does."""
    return vlmevalkit(text, question) if question.category == "letter" else by_lmms(text, question)


def cambrian(text: str, question: Question) -> str:
    """Read the first word behind `answer is`, outer marks off: Cambrian's."""
    _, there, rest = text.lower().partition("answer is")
    words = (rest if there else text.lower()).split()
    said = words[0].strip(_TRIMMED) if words else ""
    return said.upper() if question.category == "letter" else said


def marking(extract: Callable[[str, Question], str]) -> Mark:
    """Make a rule of marking: equal to the gold, whatever the case of a word. Unparsed: nothing read."""

    def mark(questions: Sequence[Question], answers: Texts) -> list[Item]:
        items = []
        for question, text in zip(questions, in_order(questions, answers), strict=True):
            parsed = extract(text, question)
            right = parsed == (question.gold[0] if question.category == "letter" else question.gold[0].lower())
            items.append(item(question, parsed, float(right), unparsed=not parsed))
        return items

    return mark


REALWORLDQA = Benchmark(
    name="realworldqa",
    variants={
        name: Variant(meaning=meaning, read=read, mark=marking(extract), measures=mean_and_facets)
        for name, meaning, extract in (
            ("lmms-eval", "lmms-eval's letters; words and numbers as they are", by_lmms),
            ("vlmevalkit", "VLMEvalKit's letters without a judge; words and numbers as they are", by_vlmevalkit),
            ("cambrian", "the first word, behind `answer is` if that is there", cambrian),
        )
    },
    default="lmms-eval",
    cluster="image",
    max_new_tokens=16,  # Source: lmms-eval `realworldqa`
    write_pictures=write_pictures,
)
