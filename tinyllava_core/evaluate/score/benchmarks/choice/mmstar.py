"""MMStar: 1,500 questions that cannot be answered without the picture, six abilities with 250 each.

The authors' number is the share of right items; lmms-eval's `average` is the mean of the 18 sub-abilities. Their
multi-modal gain is this score minus our `blind` one. Source: MMStar `eval/vlmeval/evaluate/mmstar.py`; lmms-eval `mmstar`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tinyllava_core.evaluate.questions.cell_pictures import write_pictures
from tinyllava_core.evaluate.questions.questions import Files, Question
from tinyllava_core.evaluate.questions.table import Pictures, question_of, read_rows
from tinyllava_core.evaluate.score.benchmarks.rules.letters import lmms, marking, vlmevalkit
from tinyllava_core.evaluate.score.scoring import Benchmark, Item, Variant, facet_rows, mean_and_facets, mean_of_means
from tinyllava_core.evaluate.score.statistics import Measure

LETTERS = "ABCD"
ASK = "\nAnswer with the option's letter from the given choices directly"  # no full stop. Source: lmms-eval `mmstar`
_STARTS = ("", "(", "option ", "the answer is ")  # what may stand before the letter
_OPTIONS = re.compile(r"Options:\s*A:\s*(.*?),\s*B:\s*(.*?)(?:,\s*C:\s*(.*?))?(?:,\s*D:\s*(.*?))?\s*$", re.DOTALL)


def read(files: Files) -> list[Question]:
    """Read `mmstar.parquet`, `MMStar.tsv` or its rows as JSON lines: index, question with its options, answer, category, l2_category."""
    pictures, questions = Pictures(files), []
    for row in read_rows(files.annotations):
        index, asked = row.number("index"), row.text("question").strip()
        found = _OPTIONS.search(asked)
        questions.append(
            question_of(
                row,
                pictures.of(row, str(index)),
                question_id=index,
                text=asked + ASK,
                gold=(row.letter("answer", len(LETTERS)),),
                choices=row.options() or tuple(text or "" for text in (found.groups() if found else ("",) * 4)),
                facets=(f"category.{row.text('category')}", f"l2_category.{row.text('l2_category')}"),
            )
        )
    return questions


def first_letter(text: str, question: Question) -> str:
    """Read the letter that a reply begins with, alone or behind `(`, `option `, `the answer is `; nothing else is looked at.

    `Answer: B` begins with an a, and so is right where A is.
    """
    said, gold = text.lower().strip().replace("\n", " "), question.gold[0]
    if any(said.startswith(start + gold.lower()) for start in _STARTS):
        return gold
    return said[:1].upper() if said[:1].upper() in LETTERS else ""


def measures(items: Sequence[Item]) -> list[Measure]:
    """Measure lmms-eval's average, the mean of the sub-abilities' accuracies; the pooled accuracy beside it."""
    names = [name for name in facet_rows(items) if name.startswith("l2_category.")]
    return [mean_of_means("average", items, dict.fromkeys(names, 1.0)), *mean_and_facets(items)]


MMSTAR = Benchmark(
    name="mmstar",
    variants={
        "official": Variant(
            meaning="the authors': the reply begins with the letter; all items pooled",
            read=read, mark=marking(first_letter), measures=mean_and_facets,
        ),
        "lmms-eval": Variant(
            meaning="lmms-eval's letters, mean of the 18 sub-abilities",
            read=read, mark=marking(lambda text, _: lmms(text, LETTERS)), measures=measures,
        ),
        "vlmevalkit": Variant(
            meaning="VLMEvalKit's letters without a judge, pooled",
            read=read, mark=marking(vlmevalkit), measures=mean_and_facets,
        ),
    },
    default="official",
    cluster="image",
    max_new_tokens=128,
    suffix=ASK,
    write_pictures=write_pictures,
)  # fmt: skip
