"""HallusionBench: yes/no questions about pictures, many of them edited so that memory answers wrongly; the 951 with a picture.

Three numbers: the share of right answers (aAcc), of pictures with all right (fAcc), of question groups with all right over
their pictures (qAcc); "HallusionBench" alone is their mean. The authors ask GPT-4 about all 1,129; nearly all published
numbers are VLMEvalKit's, without it. Source: `HallusionBench.json`; VLMEvalKit `yorn.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.answers import Texts, in_order
from tinyllava_core.evaluate.questions.questions import Files, Question, check_unique
from tinyllava_core.evaluate.questions.table import Pictures, question_of, read_rows, write_pictures
from tinyllava_core.evaluate.score.benchmarks.rules.vqa_text import punctuation_step
from tinyllava_core.evaluate.score.scoring import Benchmark, Item, Variant, all_right, facet_rows, item
from tinyllava_core.evaluate.score.statistics import Floats, Measure, mean_measure

_PERIOD = re.compile(r"(?<!\d)\.(?!\d)")
_FIGURE, _GROUP = "in figure ", "in group "  # facets that say what an item is counted with; no sub-scores


def read(files: Files) -> list[Question]:
    """Read `HallusionBench.json` or the hub's split `image`: category, subcategory, set_id, figure_id, question_id, gt_answer.

    Rows without a picture are passed over. The id is `<category>_<subcategory>_<set>_<figure>_<question>`.
    """
    pictures, questions = Pictures(files, ("", "hallusion_bench/"), ("filename",)), []
    for row in read_rows(files.annotations):
        names = [row.text(name) for name in ("category", "subcategory", "set_id", "figure_id", "question_id")]
        if row.has("visual_input") and row.number("visual_input") == 0:
            continue
        gold = row.number("gt_answer")
        if gold not in (0, 1):
            raise BadInput(f"{row.where}: gt_answer = {gold}; expected 0 or 1")
        head = "_".join(names[:3])
        name = "_".join(names)
        questions.append(
            question_of(
                row,
                (f"{row.place}.jpg",) if row.embedded else pictures.of(row, name),
                question_id=name,
                text=row.text("question"),
                gold=("no", "yes")[gold : gold + 1],
                facets=(
                    names[0],
                    f"{names[0]}.{names[1]}",
                    f"{_FIGURE}{head}_{names[3]}",
                    f"{_GROUP}{head}_{names[4]}",
                ),
                group=f"set {head}",
            )
        )
    if not questions:
        raise BadInput(f"{files.annotations}: no question about a picture in it")
    check_unique([question.question_id for question in questions], str(files.annotations))
    return questions


def parse(text: str) -> str:
    """Read yes where `yes` is a word and `no` is none, and the other way round; else nothing. `not` and `nope` are neither.

    Marks go as in VQA's punctuation step, but for full stops behind a digit, which VLMEvalKit's copy keeps.
    """
    words = punctuation_step(text.lower(), _PERIOD).split()
    yes, no = "yes" in words, "no" in words
    return ("yes" if yes else "no") if yes != no else ""


def mark(questions: Sequence[Question], answers: Texts) -> list[Item]:
    """Read every answer. Unparsed: neither or both."""
    items = []
    for question, text in zip(questions, in_order(questions, answers), strict=True):
        parsed = parse(text)
        made = item(question, parsed, float(parsed == question.gold[0]), unparsed=not parsed)
        items.append(replace(made, counts=(float(parsed == "yes"),)))
    return items


def measures(items: Sequence[Item]) -> list[Measure]:
    """Measure the mean of the three, each of them, each part's aAcc, and the share of yes."""
    figures, groups = ([_named(one, kind) for one in items] for kind in (_FIGURE, _GROUP))
    values = [one.score for one in items]
    parts = [mean_measure("aAcc", values), all_right("fAcc", items, figures), all_right("qAcc", items, groups)]
    facets = [(name, rows) for name, rows in facet_rows(items).items() if not name.startswith((_FIGURE, _GROUP))]
    return [
        _mean(parts, len(items)),
        *parts,
        *(mean_measure(name, values, rows) for name, rows in facets),
        mean_measure("yes_ratio", [one.counts[0] for one in items]),
    ]


def _named(one: Item, kind: str) -> str:
    return next(facet for facet in one.facets if facet.startswith(kind))


def _mean(parts: Sequence[Measure], num_items: int) -> Measure:
    columns_IC = np.zeros((num_items, 2 * len(parts)))
    for place, part in enumerate(parts):
        columns_IC[part.rows_I, 2 * place : 2 * place + 2] = part.columns_IC

    def statistic(sums_RC: Floats) -> Floats:
        return 100 * (sums_RC[:, ::2] / np.maximum(sums_RC[:, 1::2], 1)).mean(axis=1)

    return Measure(name="mean_of_three", rows_I=np.arange(num_items), columns_IC=columns_IC, statistic=statistic)


HALLUSIONBENCH = Benchmark(
    name="hallusionbench",
    variants={
        "rules": Variant(
            meaning="yes or no as a word, VLMEvalKit's rule without a judge", read=read, mark=mark, measures=measures
        )
    },
    default="rules",
    cluster="set of pictures",
    max_new_tokens=128,  # Source: lmms-eval `hallusion_bench`
    write_pictures=write_pictures,
)
