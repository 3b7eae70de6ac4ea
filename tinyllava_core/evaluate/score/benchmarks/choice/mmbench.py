"""MMBench (English): multiple choice, each question asked once per rotation of its options; right only if always right.

The dev split is scored here (1,176 questions in 4,377 rows of the 20230712 file); the right answers of test are not public,
the sheet for its server is written. Source: LLaVA `model_vqa_mmbench.py`, `convert_mmbench_for_submission.py`; VLMEvalKit
`matching_util.py`, `multiple_choice.py`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.answers import Texts, check_complete, in_order
from tinyllava_core.evaluate.questions.questions import OPTION_LETTER, Files, Question, QuestionId, check_unique
from tinyllava_core.evaluate.questions.table import separated
from tinyllava_core.evaluate.score.benchmarks.rules.letters import infer
from tinyllava_core.evaluate.score.scoring import Benchmark, Item, Variant, facet_rows, item
from tinyllava_core.evaluate.score.sheet import read_sheet, write_sheet
from tinyllava_core.evaluate.score.statistics import Measure, mean_measure

LETTERS = "ABCD"
ROTATION = 1_000_000  # row index = question's index + ROTATION * rotation
DROPPED = ("hint", "category", "source", "image", "comment", "l2-category")  # columns that the server does not get
_BEFORE_PREDICTION = 6  # columns of the sheet: index, question, A, B, C, D, then the prediction
_MAX_DIGITS = 15  # of an index
_SHORT_IMAGE = 64  # characters; shorter is no picture but the index of the row that holds it
# What pandas reads as missing by default, and so ends LLaVA's list of options. Source: pandas `read_csv`, na_values.
_MISSING = frozenset(
    [
        "",
        "#N/A",
        "#N/A N/A",
        "#NA",
        "-1.#IND",
        "-1.#QNAN",
        "-NaN",
        "-nan",
        "1.#IND",
        "1.#QNAN",
        "<NA>",
        "N/A",
        "NA",
        "NULL",
        "NaN",
        "None",
        "n/a",
        "nan",
        "null",
    ]
)
_SENTENCE = re.compile(r"answer is\W*([A-Z])\b", re.IGNORECASE)


def read(files: Files) -> list[Question]:
    """Read the official TSV (mmbench_dev_*.tsv), one question per row: each rotation is asked on its own.

    The picture is `<index of the first rotation>.jpg` under the image root: `write_pictures` puts it there.
    Raises BadInput on another shape or an index that occurs twice.
    """
    path = files.annotations
    questions = []
    for number, row in _rows(path):
        where = f"{path}, row {number}"
        index = _index(row, where)
        options = _options(row)
        answer = row.get("answer", "").strip()
        if answer and answer not in LETTERS[: len(options)]:
            raise BadInput(
                f"{where}: answer = {answer!r} of {len(options)} options; expected one of {LETTERS[: len(options)]}"
            )
        lines = [] if row.get("hint", "") in _MISSING else [row["hint"]]
        lines += [row["question"], *(f"{letter}. {text}" for letter, text in zip(LETTERS, options, strict=False))]
        facets = [f"{name}.{row[name]}" for name in ("category", "l2-category") if row.get(name)]
        questions.append(
            Question(
                question_id=index,
                image=f"{index % ROTATION}.jpg",
                text="\n".join(lines) + OPTION_LETTER,
                stem=row["question"],
                gold=(answer,) if answer else (),
                facets=tuple(facets),
                choices=tuple(options),
                group=f"question {index % ROTATION}",
            )
        )
    if not questions:
        raise BadInput(f"{path}: no rows; expected MMBench's TSV, such as mmbench_dev_20230712.tsv")
    check_unique([question.question_id for question in questions], str(path))
    return questions


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    for number, row in enumerate(separated(path), start=1):
        missing = {"index", "question", "A", "B"} - set(row)
        if missing:
            raise BadInput(f"{path}: no column {', '.join(sorted(missing))}; expected MMBench's TSV")
        yield number, row


def _index(row: Mapping[str, str], where: str) -> int:
    if not _is_number(row["index"].strip()):
        raise BadInput(f"{where}: index = {row['index']!r}; expected a number")
    return int(row["index"])


def _is_number(text: str) -> bool:
    """Tell whether it can be a row's index: Python reads no superscripts as a number, and none of thousands of digits."""
    return text.isdecimal() and len(text) <= _MAX_DIGITS


def _options(row: Mapping[str, str]) -> list[str]:
    """Give the options up to the first that is missing; `None`, `NA`, `nan` and the like are, as LLaVA's reading has it."""
    found: list[str] = []
    for letter in LETTERS:
        text = row.get(letter, "")
        if text in _MISSING or text.lower() in ("nan", "none"):
            break
        found.append(text)
    return found


def write_pictures(annotations: Path, image_root: Path) -> int:
    """Write the TSV's pictures to `<index of the first rotation>.jpg` -> how many. What is there is left alone."""
    image_root.mkdir(parents=True, exist_ok=True)
    pictures: dict[int, str] = {}
    borrowed: dict[int, int] = {}
    for number, row in _rows(annotations):
        index, cell = _index(row, f"{annotations}, row {number}"), row.get("image", "")
        if len(cell) > _SHORT_IMAGE:
            pictures.setdefault(index, cell)
        elif _is_number(cell.strip()):
            borrowed[index] = int(cell)
        else:
            raise BadInput(
                f"{annotations}, row {number}: image = {cell!r}; expected a picture in base64, or a row's index"
            )
    wanted = {
        index % ROTATION: pictures.get(borrowed.get(index, index)) for index in sorted({*pictures, *borrowed})[::-1]
    }
    for index, found in wanted.items():
        path = image_root / f"{index}.jpg"
        if found is None:
            raise BadInput(f"{annotations}: index {index} borrows a picture that no row has")
        if not path.exists():
            try:
                path.write_bytes(base64.b64decode(found, validate=True))
            except binascii.Error:
                raise BadInput(f"{annotations}: the picture of index {index} is not base64") from None
    return len(wanted)


def letter(text: str, question: Question) -> str:
    """Read an answer as LLaVA's files are scored: it is the letter itself, or wrong."""
    return text if text in tuple(LETTERS) else ""


def extract(text: str, question: Question) -> str:
    """Read an answer as VLMEvalKit does without a judge -> a letter, Z for a refusal, or nothing.

    One option letter as a word of its own (marks are spaces), among the last four words; else a lone Z; else "answer is
    X"; else the one option whose text is in a reply of at most twice the length of all options.
    """
    return infer(text, question.choices, _SENTENCE)


def mark(questions: Sequence[Question], answers: Texts, *, parse: Callable[[str, Question], str]) -> list[Item]:
    """Read the answer to every rotation. Unparsed: no letter found."""
    items = []
    for question, text in zip(questions, in_order(questions, answers), strict=True):
        parsed = parse(text, question)
        items.append(item(question, parsed, float(parsed == question.gold[0]), unparsed=not parsed))
    return items


def measures(items: Sequence[Item]) -> list[Measure]:
    """Measure circular accuracy (a question counts only if all its rotations are right), overall and by category.

    Besides: the first rotations alone, and all rotations each on its own. One draw of the error bar is one question.
    """
    places: dict[str, list[int]] = {}
    for place, one in enumerate(items):
        places.setdefault(one.cluster, []).append(place)
    values = [0.0] * len(items)
    for mine in places.values():
        values[mine[0]] = min(items[place].score for place in mine)
    first = [min(mine, key=lambda place: int(items[place].question_id)) for mine in places.values()]
    heads = {mine[0] for mine in places.values()}
    alone = [one.score for one in items]
    found = [
        mean_measure("circular_accuracy", values, sorted(heads)),
        mean_measure("first_rotation_accuracy", alone, first),
        mean_measure("rotation_accuracy", alone),
    ]
    facets = {name: [row for row in rows if row in heads] for name, rows in facet_rows(items).items()}
    return found + [mean_measure(name, values, rows) for name, rows in facets.items() if rows]


def own_answers(path: Path, questions: Sequence[Question]) -> dict[QuestionId, str]:
    """Read the upload sheet (.xlsx, columns index and prediction)."""
    head, *rows = read_sheet(path) or [[]]
    if "index" not in head or "prediction" not in head:
        raise BadInput(f"{path}: expected columns index and prediction, found {', '.join(head) or 'nothing'}")
    index, prediction = head.index("index"), head.index("prediction")
    texts: dict[QuestionId, str] = {}
    for number, row in enumerate(rows, start=2):
        cells = row + [""] * (len(head) - len(row))
        if not _is_number(cells[index]):
            raise BadInput(f"{path}, row {number}: index = {cells[index]!r}; expected a number")
        if int(cells[index]) in texts:
            raise BadInput(f"{path}, row {number}: index {cells[index]} occurs twice; keep one")
        texts[int(cells[index])] = cells[prediction]
    return texts


def submit(answers: Texts, questions: Path, out: Path) -> None:
    """Write the sheet for MMBench's server: the TSV's columns but six, the prediction in seventh place.

    Raises BadInput if one of the six is absent (as LLaVA's converter would fail), or an answer is missing.
    """
    rows = list(_rows(questions))
    columns = list(rows[0][1]) if rows else []
    absent = [name for name in DROPPED if name not in columns]
    if absent:
        raise BadInput(f"{questions}: no column {', '.join(absent)}; expected the TSV as it was downloaded")
    ids = [_index(row, f"{questions}, row {number}") for number, row in rows]
    check_complete(ids, answers)
    kept = [name for name in columns if name not in DROPPED]
    before, after = kept[:_BEFORE_PREDICTION], kept[_BEFORE_PREDICTION:]
    table: list[list[str | int | None]] = [[*before, "prediction", *after]]
    for index, (_, row) in zip(ids, rows, strict=True):
        cells = {name: None if row[name] in _MISSING else row[name] for name in kept}
        table.append([index, *(cells[name] for name in before[1:]), answers[index], *(cells[name] for name in after)])
    write_sheet(out, table)


MMBENCH = Benchmark(
    name="mmbench",
    variants={
        "letters": Variant(
            meaning="the answer is the letter itself, as LLaVA's are", read=read, mark=partial(mark, parse=letter),
            measures=measures,
        ),
        "extract": Variant(
            meaning="VLMEvalKit's extraction of a letter, without a judge", read=read, mark=partial(mark, parse=extract),
            measures=measures,
        ),
    },
    default="letters",
    cluster="question (all its rotations)",
    max_new_tokens=1024,  # Source: LLaVA `model_vqa_mmbench.py`
    suffix=OPTION_LETTER,
    own_answers=own_answers,
    submit=submit,
    submit_ending=".xlsx",
    write_pictures=write_pictures,
)  # fmt: skip
