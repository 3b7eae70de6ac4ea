"""MMVP: 150 pairs of pictures that CLIP takes for alike, one question with two options to each pair; a pair needs both.

The authors' answers are kept (`labels: original`); lmms-eval's copy has two pairs' answers exchanged, since they are wrong:
variant `corrected`. The authors let GPT-4 grade each answer (`judge`). Source: MMVP `Questions.csv`, `evaluate_mllm.py`,
`gpt_grader.py`; lmms-eval `mmvp`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.answers import Texts, in_order
from tinyllava_core.evaluate.questions.cell_pictures import write_pictures
from tinyllava_core.evaluate.questions.questions import OPTION_LETTER, Files, Question
from tinyllava_core.evaluate.questions.table import Pictures, question_of, read_rows
from tinyllava_core.evaluate.score.authors_prompt import authors_prompt, filled
from tinyllava_core.evaluate.score.benchmarks.rules.letters import LETTERS, a_or_b, marking, vlmevalkit
from tinyllava_core.evaluate.score.judge import ANSWER, Judge
from tinyllava_core.evaluate.score.scoring import Benchmark, Item, Variant, all_right, item, mean_and_facets
from tinyllava_core.evaluate.score.statistics import Measure

EXCHANGED = frozenset({99, 100, 279, 280})  # Source: lmms-eval's issue 1018, and its copy of the data
_OPTION = re.compile(r"\([a-z]\)\s*([^(]+?)(?=\s*\([a-z]\)|$)", re.IGNORECASE)
_FOLDERS = ("", "MMVP Images/")
SYSTEM = "You are a helpful and precise assistant for checking the quality of the answer. Please answer in only yes or no."  # Source: `gpt_grader.py`
TEMPERATURE = 0.2  # Source: the same


def read(files: Files, *, corrected: bool) -> list[Question]:
    """Read `Questions.csv` (Index, Question, Options `(a) ... (b) ...`, Correct Answer) or its rows; 2i-1 and 2i are a pair."""
    pictures, questions = Pictures(files, _FOLDERS, ()), []
    for row in read_rows(files.annotations):
        index, asked = row.number("Index"), row.text("Question").strip()
        options = tuple(text.strip() for text in _OPTION.findall(row.text("Options")))
        if len(options) != 2:
            raise BadInput(f"{row.where}: Options = {row.text('Options')!r}; expected (a) ... (b) ...")
        gold = row.letter("Correct Answer", 2)
        lines = [asked, *(f"{letter}. {text}" for letter, text in zip(LETTERS, options, strict=False))]
        made = question_of(
            row,
            pictures.of(row, str(index)),
            question_id=index,
            text="\n".join(lines) + OPTION_LETTER,
            stem=asked,
            gold=(gold,),
            choices=options,
            context=row.text("Options"),
            group=f"pair {(index + 1) // 2}",
        )
        wrong = corrected and index in EXCHANGED
        questions.append(replace(made, gold=("B" if gold == "A" else "A",)) if wrong else made)
    return questions


def read_judged(files: Files) -> list[Question]:
    """Read as `read` does, asked as the authors ask (`Question Options` on one line), with what the judge is told."""
    told = authors_prompt(files, "gpt_grader.py", "question4gpt", where="MMVP's repository, scripts/")
    questions = []
    for one in read(files, corrected=False):
        asked = f"{one.stem} {one.context}"
        values = {"question": asked, "correct_answer": f"({one.gold[0].lower()})", "model_response": ANSWER}
        questions.append(replace(one, text=asked, context=filled(told, values)))
    return questions


def judged(questions: Sequence[Question], answers: Texts, judge: Judge) -> list[Item]:
    """Let the judge say yes or no, the whole of its reply; anything else is unparsed, and wrong."""
    items = []
    for question, text in zip(questions, in_order(questions, answers), strict=True):
        asked = {"role": "user", "content": question.context.replace(ANSWER, text)}
        said = judge.ask([{"role": "system", "content": SYSTEM}, asked], temperature=TEMPERATURE).lower()
        items.append(item(question, said, float(said == "yes"), unparsed=said not in ("yes", "no")))
    return items


def measures(items: Sequence[Item]) -> list[Measure]:
    """Measure the share of pairs with both right, and of items."""
    return [all_right("pair_accuracy", items, [one.cluster for one in items]), *mean_and_facets(items)]


MMVP = Benchmark(
    name="mmvp",
    variants={
        name: Variant(
            meaning=meaning, read=partial(read, corrected=corrected), mark=marking(extract), measures=measures
        )
        for name, meaning, extract, corrected in (
            ("lmms-eval", "lmms-eval's A or B; the authors' answers", lambda text, _: a_or_b(text), False),
            ("corrected", "the same, with the two wrong pairs exchanged, as lmms-eval's data has it",
             lambda text, _: a_or_b(text), True),
            ("vlmevalkit", "VLMEvalKit's letters without a judge; the authors' answers", vlmevalkit, False),
        )
    }
    | {
        "judge": Variant(
            meaning="a judge says whether the answer is right; the authors' way to ask", read=read_judged,
            judged=judged, measures=measures,
        )
    },
    default="lmms-eval",
    cluster="pair",
    max_new_tokens=16,  # Source: lmms-eval `mmvp`
    suffix=OPTION_LETTER,
    write_pictures=write_pictures,
)  # fmt: skip
