"""MM-Vet: 218 open questions that need several abilities at once; a judge model gives each answer 0 to 1.

Numbers are comparable only for the same judge and the same few-shot prompt, so both are part of the score. The official
prompt (a table of seven examples) is not ours to ship: variant `official` reads it from `prompt.txt` beside the
annotations; `house` has its own. Source: MM-Vet `mm-vet_evaluator.ipynb`; LLaVA `convert_mmvet_for_eval.py`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tinyllava_core.artifact import write_aside
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.answers import Join, Texts, in_order
from tinyllava_core.evaluate.questions.questions import (
    Files,
    Question,
    QuestionId,
    key,
    official,
    picture_finder,
    read_json,
    read_text,
    rows_of,
    texts_of,
)
from tinyllava_core.evaluate.score.judge import ANSWER, Judge
from tinyllava_core.evaluate.score.scoring import Benchmark, Item, Variant, facet_rows, item
from tinyllava_core.evaluate.score.statistics import Measure, mean_measure

MAX_TOKENS = 3
_MAX_DIGITS = 9  # of a question's number
RETRY_TEMPERATURES = (0.0, 0.5, 1.0, 1.5, 2.0)
ASKS_FOR_DIGIT = "\nPredict the correctness of the answer (digit): "  # Source: the official notebook, on a retry
HOUSE_PROMPT = """\
Grade each prediction against the ground truth with a number from 0.0 (wrong) to 1.0 (right), in steps of 0.1.
<AND> in a ground truth: all its parts are needed. <OR>: one of them is enough. Give the number only.

Question | Ground truth | Prediction | Correctness
--- | --- | --- | ---
How many birds are on the wire? | 4 | four | 1.0
How many birds are on the wire? | 4 | three or four birds | 0.0
What does the sign say, and what colour is it? | exit <AND> green | It says exit. | 0.5
What does the sign say, and what colour is it? | exit <AND> green | a green exit sign | 1.0
Where could this be? | a harbour <OR> a port | a seaport with cranes | 1.0
Where could this be? | a harbour <OR> a port | a town at the sea | 0.3
What is 7 plus the number on the shirt? | 19 | The shirt says 12, so the sum is 18. | 0.2"""


def read(files: Files, *, prompt: str | None) -> list[Question]:
    """Read `mm-vet.json`: {v1_0: {imagename, question, answer, capability, ...}}. Raises BadInput on another shape.

    `prompt`: the judge's few-shot prompt; None: the official one, `prompt.txt` beside the annotations or `files.questions`.
    """
    path = official(files.annotations, "mm-vet.json")
    whole = rows_of(read_json(path), path, "MM-Vet's {v1_0: {imagename, question, answer, ...}}; use mm-vet.json")
    if prompt is None:
        place = files.questions or path.with_name("prompt.txt")
        if not place.is_file():
            raise BadInput(
                f"{place}: no such file; variant official needs MM-Vet's few-shot prompt (the text `prompt` of its "
                "evaluator notebook) there; --variant house has its own, and its own numbers"
            )
        prompt = read_text(place)  # with the line's end that the official text has of its own
    image = picture_finder(files.images, ("", "images/"), ("",))
    return [_question(name, row, f"{path}, {name}", image(key(row, "imagename", str, f"{path}, {name}")), prompt)
            for name, row in whole.items()]  # fmt: skip


def _question(name: str, row: dict[str, Any], where: str, image: str, prompt: str) -> Question:
    answer = key(row, "answer", str, where)
    capabilities = sorted(texts_of(row, "capability", where))
    spaced = answer.replace("<AND>", " <AND> ").replace("<OR>", " <OR> ")
    asked = key(row, "question", str, where)
    facets = [f"capability.{one}" for one in capabilities]
    number = name.removeprefix("v1_")[:_MAX_DIGITS]
    return Question(
        question_id=name,
        llava_id=int(number) if number.isdecimal() else None,
        image=image,
        text=asked,
        gold=(answer,),
        facets=(*facets, f"combination.{'_'.join(capabilities)}"),
        context=f"{prompt}\n{asked} | {spaced} | {ANSWER} | ",
    )


def parse(reply: str) -> float | None:
    """Read a judge's reply: what stands before the first space, a number from 0 to 1; None: anything else."""
    try:
        grade = float(reply.split(" ")[0].strip())
    except ValueError:
        return None
    return grade if 0 <= grade <= 1 else None


def grade(question: Question, text: str, judge: Judge, run: int) -> float | None:
    """Ask for a grade, and again up to five times, warmer and warmer, where the reply is none. None: never one.

    The reply to the last retry is not looked at: the official loop ends before.
    """
    asked = question.context.replace(ANSWER, text)
    attempt = run * (1 + len(RETRY_TEMPERATURES))
    reply = judge.ask([_user(asked)], temperature=0.0, max_tokens=MAX_TOKENS, attempt=attempt)
    for place, temperature in enumerate(RETRY_TEMPERATURES, start=1):
        found = parse(reply)
        if found is not None:
            return found
        message = [_user(asked + ASKS_FOR_DIGIT)]
        reply = judge.ask(message, temperature=temperature, max_tokens=MAX_TOKENS, attempt=attempt + place)
    return None


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def judged(questions: Sequence[Question], answers: Texts, judge: Judge, *, num_runs: int) -> list[Item]:
    """Grade every answer in every run; an item is worth the mean. Unparsed: no reply of some run was a grade, which is 0."""
    items = []
    for question, text in zip(questions, in_order(questions, answers), strict=True):
        grades = [grade(question, text, judge, run) for run in range(num_runs)]
        counts = tuple(found or 0.0 for found in grades)
        parsed = " ".join("none" if found is None else f"{found:g}" for found in grades)
        items.append(item(question, parsed, sum(counts) / num_runs, counts=counts, unparsed=None in grades))
    return items


def measures(items: Sequence[Item]) -> list[Measure]:
    """Measure the mean grade: of all, of each capability and combination, and of each run of the judge."""
    values = [one.score for one in items]
    found = [mean_measure("score", values)]
    found += [mean_measure(name, values, rows) for name, rows in facet_rows(items).items()]
    num_runs = len(items[0].counts)
    runs = range(num_runs) if num_runs > 1 else range(0)
    return found + [mean_measure(f"run.{run + 1}", [one.counts[run] for one in items]) for run in runs]


def join(questions: Sequence[Question]) -> Join:
    """Match LLaVA's answers, whose ids are whole numbers: n is v1_n."""
    known = {question.question_id for question in questions}
    return lambda question_id, prompt, where: question_id if question_id in known else f"v1_{question_id}"


def own_answers(path: Path, questions: Sequence[Question]) -> dict[QuestionId, str]:
    """Read MM-Vet's own result format: {v1_0: text, ...}."""
    whole = read_json(path)
    if not isinstance(whole, dict) or not all(isinstance(text, str) for text in whole.values()):
        raise BadInput(f"{path}: expected LLaVA's JSON lines, or {{v1_0: text, ...}}")
    return dict(whole)


def submit(answers: Texts, questions: Path, out: Path) -> None:
    """Write the file that MM-Vet's online grader takes: {v1_0: text, ...}, one for every question."""
    path = official(questions, "mm-vet.json")
    whole = rows_of(read_json(path), path, "MM-Vet's {v1_0: {imagename, question, answer, ...}}; use mm-vet.json")
    missing = [name for name in whole if name not in answers]
    if missing:
        raise BadInput(f"answers: {len(missing)} of {len(whole)} questions have none (the first: {missing[0]!r})")
    write_aside(out, json.dumps({name: answers[name] for name in whole}, indent=1, ensure_ascii=False))


def _variant(meaning: str, *, prompt: str | None, num_runs: int) -> Variant:
    return Variant(
        meaning=meaning,
        read=partial(read, prompt=prompt),
        judged=partial(judged, num_runs=num_runs),
        measures=measures,
    )


MMVET = Benchmark(
    name="mmvet",
    variants={
        "official": _variant("the official prompt (from a file), one run of the judge", prompt=None, num_runs=1),
        "official-5": _variant("the same, five runs of the judge, as in the paper", prompt=None, num_runs=5),
        "house": _variant(
            "our own few-shot prompt; not comparable to published numbers", prompt=HOUSE_PROMPT, num_runs=1
        ),
    },
    default="official",
    cluster="image",
    max_new_tokens=1024,  # Source: LLaVA `model_vqa.py`
    join=join,
    own_answers=own_answers,
    submit=submit,
)
