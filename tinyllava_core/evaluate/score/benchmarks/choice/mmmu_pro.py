"""MMMU-Pro: MMMU's questions with up to ten options (`standard`), or as a picture of the whole question (`vision`).

One file is one setting; the published number is the mean of `standard (10 options)` and `vision`, which have the same ids, so
they are two answer files and two scores. Where nothing can be read, a choice is drawn by the question's id.
Source: MMMU `mmmu-pro/evaluate.py`, `prompts.yaml`; lmms-eval `mmmu_pro`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from tinyllava_core.evaluate.questions.answers import Texts, in_order
from tinyllava_core.evaluate.questions.cell_pictures import write_pictures as write_columns
from tinyllava_core.evaluate.questions.questions import Files, Question
from tinyllava_core.evaluate.questions.table import Pictures, Row, question_of, read_rows
from tinyllava_core.evaluate.score.benchmarks.choice.mmmu import random_choice
from tinyllava_core.evaluate.score.benchmarks.rules.letters import LETTERS, vlmevalkit
from tinyllava_core.evaluate.score.scoring import Benchmark, Item, Mark, Variant, item, mean_and_facets

DIRECT = "Answer with the option letter from the given choices directly."
VISION = (
    f"{DIRECT} The last line of your response should be of the following format: 'Answer: $LETTER' (without quotes) "
    "where LETTER is one of options."
)  # Source: `prompts.yaml`
COLUMNS = tuple(f"image_{number}" for number in range(1, 8))
_IMAGE = re.compile(r"<image (\d+)>")
_OUTER = (",", ".", "!", "?", ";", ":", "'")
_MIN_WORDS = 5
MOST = 12  # options of one question


def read(files: Files) -> list[Question]:
    """Read the rows of one setting: id, options, answer (a letter), subject; question and image_1.. , or image alone."""
    questions = []
    standard, vision = Pictures(files, columns=COLUMNS), Pictures(files)
    for row in read_rows(files.annotations):
        options, name = row.texts("options"), row.text("id")
        if row.has("question"):
            asked = row.text("question")
            lines = [asked, *(f"{letter}. {text}" for letter, text in zip(LETTERS, options, strict=False)), DIRECT]
            text, pictures = "\n".join(lines), _in_reading_order(row, standard.of(row, name), "\n".join(lines))
        else:
            asked, text, pictures = "", VISION, list(vision.of(row, name))
        questions.append(
            question_of(
                row,
                pictures,
                question_id=name,
                text=text,
                stem=asked,
                gold=(row.letter("answer", MOST),),  # one real item has its right letter beyond its only option
                choices=options,
                facets=(f"subject.{row.text('subject')}",),
                group=f"question {name}",
            )
        )
    return questions


def _in_reading_order(row: Row, pictures: Sequence[str], text: str) -> list[str]:
    """Put a question's pictures into the order in which its text and options name them; those it does not name, behind."""
    there = [column for column in COLUMNS if row.cells.get(column) is not None]
    by_number = {int(column.removeprefix("image_")): name for column, name in zip(there, pictures, strict=False)}
    named = [by_number[int(number)] for number in _IMAGE.findall(text) if len(number) < 3 and int(number) in by_number]
    return list(dict.fromkeys([*named, *pictures]))


def official(text: str, options: Sequence[str]) -> str:
    """Read the only option letter behind the last `Answer:`, wherever it stands in that; else as `candidates`."""
    letters = LETTERS[: len(options)]
    _, there, said = text.rpartition("Answer:")
    inside = [letter for letter in letters if letter in said] if there else []
    return inside[0] if len(inside) == 1 else candidates(text, options)


def candidates(text: str, options: Sequence[str]) -> str:
    """Read `(X)`, else `X `, else `X.`, else, in more than five words, an option's text; of several the last. "": none.

    With ten options the pronoun I is option I. The last is looked for as ` X `: a word's end counts as not there.
    """
    for outer in _OUTER:
        text = text.strip(outer)
    text = f" {text} "
    letters = LETTERS[: len(options)]
    for form, place in (("({})", "({})"), ("{} ", " {} "), ("{}.", " {} ")):
        found = [letter for letter in letters if form.format(letter) in text]
        if found:
            return max(found, key=lambda letter: text.rfind(place.format(letter)))
    if len(text.split()) <= _MIN_WORDS:
        return ""
    lowered = text.lower()
    by_text = {letter: lowered.rfind(option.lower()) for letter, option in zip(letters, options, strict=True)}
    best = max(by_text, key=lambda letter: by_text[letter], default="")
    return best if best and by_text[best] >= 0 else ""


def marking(extract: Callable[[str, Question], str], *, draw: bool) -> Mark:
    """Make a rule of marking. Unparsed: no choice found; then one is drawn, if the rule draws."""

    def mark(questions: Sequence[Question], answers: Texts) -> list[Item]:
        items = []
        for question, text in zip(questions, in_order(questions, answers), strict=True):
            letter = extract(text, question)
            said = random_choice(question) if draw and not letter and question.choices else letter
            items.append(item(question, said, float(said == question.gold[0]), unparsed=not letter))
        return items

    return mark


def write_pictures(annotations: Path, folder: Path) -> int:
    """Write the pictures of either setting."""
    first = next(iter(read_rows(annotations)))
    return write_columns(annotations, folder, COLUMNS if first.has("question") else ("image",))


MMMU_PRO = Benchmark(
    name="mmmu-pro",
    variants={
        "official": Variant(
            meaning="the authors': behind the last `Answer:`, else their parser; a random choice seeded by question",
            read=read, mark=marking(lambda text, one: official(text, one.choices), draw=True), measures=mean_and_facets,
        ),
        "lmms-eval": Variant(
            meaning="the authors' parser without its rule for `Answer:`",
            read=read, mark=marking(lambda text, one: candidates(text, one.choices), draw=True),
            measures=mean_and_facets,
        ),
        "vlmevalkit": Variant(
            meaning="VLMEvalKit's letters without a judge",
            read=read, mark=marking(vlmevalkit, draw=False), measures=mean_and_facets,
        ),
    },
    default="official",
    cluster="question",
    max_new_tokens=256,  # Source: lmms-eval `mmmu_pro`
    write_pictures=write_pictures,
)  # fmt: skip
