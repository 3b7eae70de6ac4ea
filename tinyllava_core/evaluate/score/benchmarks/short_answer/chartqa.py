"""ChartQA: 2,500 questions about charts, half asked by people, half made from captions; numbers may be 5 % off.

Source: ChartQA's `test_human.json` and `test_augmented.json`; the rule is pix2struct's, in rules/numbers.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.answers import Texts, in_order
from tinyllava_core.evaluate.questions.cell_pictures import write_pictures
from tinyllava_core.evaluate.questions.questions import Files, Question
from tinyllava_core.evaluate.questions.table import Pictures, Row, question_of, read_rows
from tinyllava_core.evaluate.score.benchmarks.rules.numbers import relaxed, relaxed_swapped
from tinyllava_core.evaluate.score.scoring import Benchmark, Item, Mark, Variant, item, mean_and_facets

ASK = "\nAnswer the question with a single word."  # Source: lmms-eval `chartqa`
SPLITS = ("human", "augmented")
_FOLDERS = ("", "png/", "test/png/")


def read(files: Files) -> list[Question]:
    """Read a folder with `test_human.json` and `test_augmented.json` ({imgname, query, label}), one of them, or the hub's rows.

    A question's id is `human-<row>` or `augmented-<row>`, rows from 0 in its part.
    """
    official = Pictures(files, _FOLDERS, ("imgname",))
    numbers, questions = dict.fromkeys(SPLITS, 0), []
    for row, split in _rows(files.annotations):
        name = f"{split}-{numbers[split]}"
        numbers[split] += 1
        asked, label = ("query", "label") if row.has("query") else ("question", "answer")
        gold = row.texts(label)[0] if isinstance(row.cells.get(label), list) else row.text(label)
        pictures = official if row.has("imgname") else Pictures(files)
        questions.append(
            question_of(
                row,
                pictures.of(row, str(row.place)),
                question_id=name,
                text=row.text(asked) + ASK,
                gold=(gold,),
                facets=(split,),
            )
        )
    return questions


def _rows(path: Path) -> list[tuple[Row, str]]:
    both = [(path / f"test_{split}.json", split) for split in SPLITS]
    if path.is_dir() and all(file.is_file() for file, _ in both):
        return [(row, split) for file, split in both for row in read_rows(file)]
    named = next((split for split in SPLITS if path.stem.endswith(split)), None)
    found = []
    for row in read_rows(path):
        split = row.text("type").removesuffix("_test").removesuffix("_split") if row.has("type") else named
        if split not in SPLITS:
            raise BadInput(
                f"{row.where}: type = {split!r}; expected human_test or augmented_test, or the official two files"
            )
        found.append((row, split))
    return found


def marking(equal: Callable[[str, str], bool]) -> Mark:
    """Make a rule of marking. Unparsed: an empty reply."""

    def mark(questions: Sequence[Question], answers: Texts) -> list[Item]:
        pairs = zip(questions, in_order(questions, answers), strict=True)
        return [
            item(question, text.strip(), float(equal(text, question.gold[0])), unparsed=not text.strip())
            for question, text in pairs
        ]

    return mark


CHARTQA = Benchmark(
    name="chartqa",
    variants={
        name: Variant(meaning=meaning, read=read, mark=marking(equal), measures=mean_and_facets)
        for name, meaning, equal in (
            ("official", "relaxed accuracy: numbers within 5 % of the right one, else equal texts", relaxed),
            ("qwen-vl", "the same with the two exchanged: 5 % of the prediction", relaxed_swapped),
        )
    },
    default="official",
    cluster="image",
    max_new_tokens=16,  # Source: lmms-eval `chartqa`
    suffix=ASK,
    write_pictures=write_pictures,
)
