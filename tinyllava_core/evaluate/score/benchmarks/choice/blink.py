"""BLINK: 1,901 questions (val) of 14 tasks that people solve at a glance, many of them about two to four pictures.

The score is the mean of the 14 tasks' accuracies. The authors let GPT-3.5 read what their rules do not (`judge`); `rules`,
the default, reads it with VLMEvalKit's instead. Source: BLINK `test_benchmark.py`, `multiple_choice.py`, `evaluate.py`;
lmms-eval `blink`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.answers import Texts, in_order
from tinyllava_core.evaluate.questions.cell_pictures import write_pictures
from tinyllava_core.evaluate.questions.questions import Files, Question
from tinyllava_core.evaluate.questions.table import Pictures, question_of, read_rows
from tinyllava_core.evaluate.score.authors_prompt import authors_prompt
from tinyllava_core.evaluate.score.benchmarks.rules.letters import LETTERS, head, letter_item, marking, vlmevalkit
from tinyllava_core.evaluate.score.judge import ANSWER, Judge
from tinyllava_core.evaluate.score.scoring import Benchmark, Item, Variant, facet_rows, mean_and_facets, mean_of_means
from tinyllava_core.evaluate.score.statistics import Measure

COLUMNS = ("image_1", "image_2", "image_3", "image_4")
_ASKED = "\nSelect from the following choices"  # Source: `test_benchmark.py`, `analyze_answer`
_BARE = [form.format(letter) for letter in "ABCDE" for form in ("{}", "({})")]


def read(files: Files) -> list[Question]:
    """Read the rows of all tasks, Parquet or JSON lines: idx, sub_task, prompt, choices, answer as `(A)`, image_1 to image_4.

    The test split's answers are hidden there; it can be asked, not scored.
    """
    pictures, questions = Pictures(files, columns=COLUMNS), []
    for row in read_rows(files.annotations):
        choices, gold = row.texts("choices"), row.text("answer")
        idx = row.text("idx")
        questions.append(
            question_of(
                row,
                pictures.of(row, idx),
                question_id=idx,
                text=row.text("prompt"),
                stem=row.text("question") if row.has("question") else "",
                gold=(row.letter("answer", len(choices)),) if gold.strip("()") and gold != "hidden" else (),
                choices=choices,
                facets=(f"task.{row.text('sub_task')}",),
            )
        )
    return questions


def direct(text: str, question: Question) -> str:
    """Read a letter as the authors do before they ask GPT: the whole reply, or the only `(X)` in it or in its last paragraph."""
    if text in _BARE:
        return text.strip("()")
    known = [f"({letter})" for letter in LETTERS[: len(question.choices)]]
    for part in (text.split("\n\n")[-1] if "\n\n" in text else "", text):
        found = {word for word in part.split() if word in known}
        if len(found) == 1:
            return found.pop().strip("()")
    return ""


def rules(text: str, question: Question) -> str:
    """Read a letter directly, else by VLMEvalKit's rule."""
    return direct(text, question) or vlmevalkit(text, question)


def read_judged(files: Files) -> list[Question]:
    """Read as `read` does, with what the judge is told: `multiple_choice.py`'s text, its three blanks filled in."""
    told = authors_prompt(
        files, "multiple_choice.py", "tmpl", where="BLINK's repository, eval/", function="build_prompt"
    )
    if told.count("{}") != 3:
        raise BadInput("multiple_choice.py: its text has not three blanks; expected BLINK's own")
    start, between, before, end = told.split("{}")
    asked = read(files)
    if not all(one.stem for one in asked):
        raise BadInput(f"{files.annotations}: no column question, which the judge is told; take the hub's Parquet")
    return [
        replace(one, context=f"{start}{one.stem}{_ASKED}{between}{_listed(one.choices)}{before}{ANSWER}{end}")
        for one in asked
    ]


def _listed(choices: Sequence[str]) -> str:
    return "\n".join(f"({letter}) {choice}" for letter, choice in zip(LETTERS, choices, strict=False))


def judged(questions: Sequence[Question], answers: Texts, judge: Judge) -> list[Item]:
    """Read each answer directly, else as the judge does, whose whole reply has to be `(X)`. Unparsed: neither."""
    items = []
    for question, text in zip(questions, in_order(questions, answers), strict=True):
        letter = direct(text, question)
        if not letter:
            asked = {"role": "user", "content": question.context.replace(ANSWER, text)}
            reply = judge.ask([asked], temperature=0.0)
            letter = reply.strip("()") if reply in _BARE and reply.startswith("(") else ""
        items.append(letter_item(question, letter))
    return items


def measures(items: Sequence[Item]) -> list[Measure]:
    """Measure the mean of the tasks' accuracies; pooled and each task's besides."""
    return [mean_of_means("mean_of_tasks", items, dict.fromkeys(facet_rows(items), 1.0)), *mean_and_facets(items)]


BLINK = Benchmark(
    name="blink",
    variants={
        name: Variant(meaning=meaning, read=read, mark=marking(extract), measures=how)
        for name, meaning, extract, how in (
            (
                "rules",
                "the authors' rules, then VLMEvalKit's instead of their judge; mean of the 14 tasks",
                rules,
                measures,
            ),
            ("direct", "the authors' rules alone, without their judge; mean of the 14 tasks", direct, measures),
            ("lmms-eval", "the first letter of the reply; mean of the 14 tasks", lambda text, _: head(text), measures),
            ("vlmevalkit", "VLMEvalKit's letters without a judge; pooled", vlmevalkit, mean_and_facets),
        )
    }
    | {
        "judge": Variant(
            meaning="the authors' rules, and a judge for the rest; mean of the 14 tasks",
            read=read_judged,
            judged=judged,
            measures=measures,
        )
    },
    default="rules",
    cluster="image",
    max_new_tokens=1024,  # Source: lmms-eval `blink`
    write_pictures=partial(write_pictures, columns=COLUMNS),
)
