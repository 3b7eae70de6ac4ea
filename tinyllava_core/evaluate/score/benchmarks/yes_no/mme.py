"""MME: two yes/no questions about each of 1,187 pictures, one with each answer; ten tasks of perception, four of cognition.

A task scores accuracy plus the share of pictures with both questions right, at most 200; perception is the sum of ten tasks
(at most 2000, TinyLLaVA's "MME" column and the default), cognition of four (800).
Source: MME `calculation.py`; LLaVA `convert_answer_to_mme.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.answers import Join, Texts, in_order
from tinyllava_core.evaluate.questions.questions import SHORT_ANSWER, Files, Question, QuestionId, read_text, shown
from tinyllava_core.evaluate.score.scoring import Benchmark, Item, Variant, item
from tinyllava_core.evaluate.score.statistics import Floats, Measure, mean_measure

PERCEPTION = ("existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark", "artwork", "OCR")
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")
_ASKS = "Please answer yes or no."
_TEXTS, _PICTURES = "questions_answers_YN", "images"
_ENDINGS = (".jpg", ".png", ".jpeg")


def read(files: Files) -> list[Question]:
    """Read the official folder: one folder per task, in it a picture and a text of its name for every two questions.

    A text has two lines, question, tab, Yes or No; some tasks keep texts and pictures in two folders. Asked as LLaVA asks:
    the official last sentence off, the short-answer suffix on. A question's id is `task/picture:1` or `:2`.
    Raises BadInput if a task is missing (the sums would be another benchmark's) or a text is not of this shape.
    """
    root = files.annotations
    missing = [task for task in (*PERCEPTION, *COGNITION) if not (root / task).is_dir()]
    if missing:
        raise BadInput(
            f"{root}: no folder for {', '.join(missing)}; expected MME_Benchmark_release_version with its 14 task folders"
        )
    return [question for task in (*PERCEPTION, *COGNITION) for question in _task(root, task)]


def _task(root: Path, task: str) -> list[Question]:
    texts = root / task / _TEXTS if (root / task / _TEXTS).is_dir() else root / task
    pictures = root / task / _PICTURES if (root / task / _PICTURES).is_dir() else root / task
    questions = []
    for path in sorted(texts.glob("*.txt")):
        named = [pictures / f"{path.stem}{ending}" for ending in _ENDINGS]
        picture = next((one for one in named if one.is_file()), named[0])
        image = picture.relative_to(root).as_posix()
        lines = [line for line in read_text(path).split("\n") if line.strip()]
        if len(lines) != 2:
            raise BadInput(f"{path}: {len(lines)} lines; expected two questions, each with a tab and Yes or No")
        for place, line in enumerate(lines, start=1):
            asked, tab, label = line.partition("\t")
            if not tab or label.strip().lower() not in ("yes", "no"):
                raise BadInput(f"{path}, line {place}: {line!r}; expected a question, a tab and Yes or No")
            questions.append(
                Question(
                    question_id=f"{task}/{picture.name}:{place}",
                    image=image,
                    llava_id=image,
                    text=asked.replace(_ASKS, "").strip() + SHORT_ANSWER,
                    gold=(label.strip().lower(),),
                    category=task,
                    facets=(task,),
                    context=asked,
                )
            )
    if not questions:
        raise BadInput(f"{texts}: no question files (*.txt) in it")
    return questions


def parse(answer: str) -> str:
    """Read an answer -> yes, no or other, by its first four characters in lower case, yes before no; nothing is stripped.

    `Not sure`, `None` and `know` are a no; `The answer is yes` is other, which is wrong.
    """
    start = answer.lower()[:4]
    return "yes" if "yes" in start else "no" if "no" in start else "other"


def mark(questions: Sequence[Question], answers: Texts) -> list[Item]:
    """Read every answer. Unparsed: neither yes nor no."""
    items = []
    for question, text in zip(questions, in_order(questions, answers), strict=True):
        parsed = parse(text)
        items.append(item(question, parsed, float(parsed == question.gold[0]), unparsed=parsed == "other"))
    return items


def measures(headline: str) -> Callable[[Sequence[Item]], list[Measure]]:
    """Make the measures: perception, cognition, and of each task its score, accuracy and share of pictures with both right."""

    def measure(items: Sequence[Item]) -> list[Measure]:
        counted_IC = _counted(items)
        rows = {task: [n for n, one in enumerate(items) if one.facets[0] == task] for task in (*PERCEPTION, *COGNITION)}
        found = [_sum("perception", PERCEPTION, rows, counted_IC), _sum("cognition", COGNITION, rows, counted_IC)]
        for task, mine in rows.items():
            found.append(_sum(task, (task,), rows, counted_IC))
            found.append(mean_measure(f"{task}.accuracy", counted_IC[:, 0].tolist(), mine))
            first = [place for place in mine if counted_IC[place, 3]]
            found.append(mean_measure(f"{task}.accuracy+", counted_IC[:, 2].tolist(), first))
        return sorted(found, key=lambda one: one.name != headline)

    return measure


def _counted(items: Sequence[Item]) -> Floats:
    """Give, of each item: right, 1; and, at the first of a picture's two: both right, 1."""
    right_of: dict[str, list[int]] = {}
    for place, one in enumerate(items):
        right_of.setdefault(one.cluster, []).append(place)
    counted_IC = np.zeros((len(items), 4))
    counted_IC[:, 0] = [one.score for one in items]
    counted_IC[:, 1] = 1
    for places in right_of.values():
        counted_IC[places[0], 2:] = min(items[place].score for place in places), 1
    return counted_IC


def _sum(name: str, tasks: Sequence[str], rows: dict[str, list[int]], counted_IC: Floats) -> Measure:
    """Sum accuracy and accuracy+ over tasks, in percent."""
    mine = [place for task in tasks for place in rows[task]]
    columns_IC = np.zeros((len(counted_IC), 4 * len(tasks)))
    for place, task in enumerate(tasks):
        columns_IC[rows[task], 4 * place : 4 * place + 4] = counted_IC[rows[task]]

    def statistic(sums_RC: Floats) -> Floats:
        right, asked, both, pictures = (sums_RC[:, start::4] for start in range(4))
        return 100 * (right / np.maximum(asked, 1) + both / np.maximum(pictures, 1)).sum(axis=1)

    return Measure(
        name=name,
        rows_I=np.array(mine),
        columns_IC=columns_IC[mine],
        statistic=statistic,
        max_score=200.0 * len(tasks),
    )


def join(questions: Sequence[Question]) -> Join:
    """Match LLaVA's answers, whose `task/picture` or `task/images/picture` occurs twice, by their prompt; our own by their id.

    The official question is recovered as LLaVA's converter does it: suffix off, last sentence on, behind one space or two.
    """
    by_place = {_picture_and_place(str(question.question_id)): question.question_id for question in questions}
    asked = {(_picture_and_place(str(one.question_id))[:2], one.context): one.question_id for one in questions}

    def find(question_id: QuestionId, prompt: str, where: str) -> QuestionId:
        *picture, place = _picture_and_place(str(question_id))
        if (*picture, place) in by_place:
            return by_place[picture[0], picture[1], place]
        text = prompt.replace(SHORT_ANSWER.strip(), "").strip()
        if _ASKS not in text:
            text += f" {_ASKS}"
        for form in (text, text.replace(f" {_ASKS}", f"  {_ASKS}")):
            if ((picture[0], picture[1]), form) in asked:
                return asked[(picture[0], picture[1]), form]
        raise BadInput(
            f"{where}: no question {shown(text)} about {shown(question_id)} in the annotations; is it the same release?"
        )

    return find


def _picture_and_place(question_id: str) -> tuple[str, str, str]:
    """Take an id apart -> task, the picture's stem, 1 or 2 (of ours; nothing in LLaVA's).

    LLaVA names the picture with its folder where a task has two, and each with its own ending: `posters/images/a.jpg`.
    """
    path, colon, place = question_id.rpartition(":")
    path = path if colon and place in ("1", "2") else question_id
    folders = path.split("/")
    return folders[0], folders[-1].rpartition(".")[0] or folders[-1], place if path != question_id else ""


def own_answers(path: Path, questions: Sequence[Question]) -> dict[QuestionId, str]:
    """Read MME's own result format: a folder of `<task>.txt`, a line: picture's text name, question, gold, response.

    The official script pairs consecutive lines. Raises BadInput where these are not of one picture, or a line does not
    have four columns (a tab or a newline in a response breaks the format).
    """
    asked = {(one.category, Path(one.image or "").stem, one.context): one.question_id for one in questions}
    texts: dict[QuestionId, str] = {}
    for task in (*PERCEPTION, *COGNITION):
        file = path / f"{task}.txt"
        if not file.is_file():
            raise BadInput(
                f"{file}: no such file; expected LLaVA's JSON lines, or a folder with one {task}.txt per task"
            )
        lines = [line for line in read_text(file).split("\n") if line]
        stems: list[str] = []
        for number, line in enumerate(lines, start=1):
            where, cells = f"{file}, line {number}", line.split("\t")
            if len(cells) != 4:
                raise BadInput(
                    f"{where}: {len(cells)} columns; expected picture, question, gold, response and no other tab"
                )
            stems.append(Path(cells[0]).stem)
            question_id = asked.get((task, stems[-1], cells[1]))
            if question_id is None:
                raise BadInput(f"{where}: no question {cells[1]!r} about {cells[0]!r} in the annotations")
            if question_id in texts:
                raise BadInput(f"{where}: question {question_id} occurs twice; keep one")
            if len(stems) % 2 == 0 and stems[-1] != stems[-2]:
                raise BadInput(
                    f"{where}: pairs are consecutive lines, and this is not about {stems[-2]} as the line before"
                )
            texts[question_id] = cells[3]
    return texts


MME = Benchmark(
    name="mme",
    variants={
        name: Variant(meaning=meaning, read=read, mark=mark, measures=measures(name))
        for name, meaning in (
            ("perception", "sum of the ten tasks of perception, at most 2000"),
            ("cognition", "sum of the four tasks of cognition, at most 800"),
        )
    },
    default="perception",
    cluster="image",
    suffix=SHORT_ANSWER,
    join=join,
    own_answers=own_answers,
)
