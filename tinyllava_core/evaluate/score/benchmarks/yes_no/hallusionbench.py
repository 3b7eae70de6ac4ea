"""HallusionBench: yes/no questions about pictures, many of them edited so that memory answers wrongly.

Three numbers: the share of right answers (aAcc), of pictures with all right (fAcc), of question groups with all right over
their pictures (qAcc); "HallusionBench" alone is their mean. Nearly all published numbers are VLMEvalKit's: 951 questions
with a picture, no judge. The authors let GPT-4 grade all 1,129 (`judge`), and lay each wrong answer to language (LH), vision
(VI) or either (mixed), by the answer to the same question about the unedited picture, or about none. Source:
`HallusionBench.json`, `utils.py`; VLMEvalKit `yorn.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.answers import Texts, in_order
from tinyllava_core.evaluate.questions.cell_pictures import write_pictures
from tinyllava_core.evaluate.questions.questions import Files, Question, check_unique
from tinyllava_core.evaluate.questions.table import Pictures, question_of, read_rows
from tinyllava_core.evaluate.score.authors_prompt import authors_prompt, filled
from tinyllava_core.evaluate.score.benchmarks.rules.vqa_text import punctuation_step
from tinyllava_core.evaluate.score.judge import ANSWER, Judge
from tinyllava_core.evaluate.score.scoring import Benchmark, Item, Variant, all_right, facet_rows, item
from tinyllava_core.evaluate.score.statistics import Floats, Measure, mean_measure

_PERIOD = re.compile(r"(?<!\d)\.(?!\d)")
_FIGURE, _GROUP = "in figure ", "in group "  # facets that say what an item is counted with; no sub-scores
_HARD, _UNSEEN = "hard", "no picture"  # facets: an edited picture; a question that stands alone
_TOLD = {"sample['question']": "question", "sample['gt_answer_details']": "gt_answer_details"}
_SAID, _ORIGINALS = "sample[output_entry]", "response2"  # in the authors' script: an answer, and the original's
_THEN = "\x03"  # in what a judge is told: between the second question, whether two answers agree, and the first

LANGUAGE, VISION, MIXED = "LH", "VI", "mixed"  # language hallucination, visual illusion, one of the two
# Kind of question, verdict on the original's answer ("": this is the original), on this one
# -> the cause of a wrong answer that differs from the original's, that agrees with it. Anything else wrong: vision.
_CAUSES = {
    ("VD", "correct", "incorrect"): (VISION, MIXED),
    ("VS", "", "incorrect"): (LANGUAGE, LANGUAGE),
    ("VS", "", "unclear"): ("", ""),
    ("VS", "incorrect", "incorrect"): (MIXED, LANGUAGE),
    ("VS", "incorrect", "unclear"): (MIXED, MIXED),
    ("VS", "correct", "incorrect"): (VISION, LANGUAGE),  # about an edited picture; else vision
}


def read(files: Files, *, judge: bool = False) -> list[Question]:
    """Read `HallusionBench.json` or the hub's split `image`: category, subcategory, set_id, figure_id, question_id, gt_answer.

    Rows without a picture are passed over, but for a judge. The id is `<category>_<subcategory>_<set>_<figure>_<question>`.
    """
    told, agree = map(partial(_prompt, files), ("evaluate_by_chatgpt", "check_same_by_chatgpt")) if judge else ("", "")
    filled(agree, {_SAID: "", _ORIGINALS: ""})  # or it is another version of the script
    pictures, questions = Pictures(files, ("", "hallusion_bench/"), ("filename",)), []
    for row in read_rows(files.annotations):
        names = [row.text(name) for name in ("category", "subcategory", "set_id", "figure_id", "question_id")]
        kind = row.number("visual_input") if row.has("visual_input") else 1
        if kind == 0 and not judge:
            continue
        gold = row.number("gt_answer")
        if gold not in (0, 1):
            raise BadInput(f"{row.where}: gt_answer = {gold}; expected 0 or 1")
        head = "_".join(names[:3])
        name = "_".join(names)
        seen = (f"{row.place}.jpg",) if row.embedded else pictures.of(row, name)
        values = {slot: row.text(column) for slot, column in _TOLD.items()} if judge else {}
        questions.append(
            question_of(
                row,
                seen if kind else (),
                question_id=name,
                text=row.text("question"),
                gold=("no", "yes")[gold : gold + 1],
                facets=(
                    names[0],
                    f"{names[0]}.{names[1]}",
                    f"{_FIGURE}{head}_{names[3]}",
                    f"{_GROUP}{head}_{names[4]}",
                    *((_HARD,) if kind == 2 else ()),
                    *((_UNSEEN,) if names[0] == "VS" and names[3] == "0" else ()),
                ),
                context=f"{agree}{_THEN}{filled(told, values | {_SAID: ANSWER})}" if judge else "",
                group=f"set {head}",
            )
        )
    if not questions:
        raise BadInput(f"{files.annotations}: no question about a picture in it")
    check_unique([question.question_id for question in questions], str(files.annotations))
    return questions


def _prompt(files: Files, function: str) -> str:
    return authors_prompt(files, "utils.py", "prompt", where="HallusionBench's repository", function=function)


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


def judged(questions: Sequence[Question], answers: Texts, judge: Judge) -> list[Item]:
    """Let the judge say incorrect (looked for first), correct, or anything else: unclear, which is right without a picture.

    Unparsed: unclear. Counted besides: whether a yes was said, as the authors infer it from right and gold; and whether the
    cause is language, vision, mixed, where every question's original is among the questions.
    """
    items = []
    for question, text in zip(questions, in_order(questions, answers), strict=True):
        told = question.context.partition(_THEN)[2]
        reply = judge.ask([{"role": "user", "content": told.replace(ANSWER, text)}]).lower()
        said = next((word for word in ("incorrect", "correct") if word in reply), "unclear")
        right = said == "correct" or (said == "unclear" and _UNSEEN in question.facets)
        made = item(question, said, float(right), unparsed=said == "unclear")
        items.append(replace(made, counts=(float(right == (question.gold[0] == "yes")),)))
    originals = {_named(one, _GROUP): place for place, one in enumerate(questions) if _is_original(one)}
    if any(_named(one, _GROUP) not in originals for one in questions):
        return items
    return [
        replace(one, counts=(*one.counts, *(float(why == name) for name in (LANGUAGE, VISION, MIXED))))
        for one, why in zip(items, _causes(questions, answers, items, originals, judge), strict=True)
    ]


def _causes(
    questions: Sequence[Question], answers: Texts, items: Sequence[Item], originals: Mapping[str, int], judge: Judge
) -> Iterator[str]:
    """Give each answer's cause, "" of one that is right. The judge is asked only where its reply decides."""
    texts = in_order(questions, answers)
    for question, one, text in zip(questions, items, texts, strict=True):
        place = originals[_named(question, _GROUP)]
        case = question.facets[0], "" if _is_original(question) else items[place].parsed, one.parsed
        differs, agrees = ("", "") if one.parsed == "correct" else _CAUSES.get(case, (VISION, VISION))
        if case == ("VS", "correct", "incorrect") and _HARD not in question.facets:
            agrees = differs
        if differs != agrees:
            told = filled(question.context.partition(_THEN)[0], {_SAID: text, _ORIGINALS: texts[place]})
            differs = agrees if "same" in judge.ask([{"role": "user", "content": told}]).lower() else differs
        yield differs


def judged_measures(items: Sequence[Item]) -> list[Measure]:
    """Measure as `measures` does, over all questions, figures without the ones that are none, and groups easy and hard.

    LH, VI and mixed are shares of the answers that have a cause: all that are wrong. yes_bias is the share of yes less the share
    of questions whose answer is yes; no_among_wrong the share of wrong answers whose right one is no.
    """
    said = np.array([one.counts[0] for one in items])  # yes
    right = np.array([one.score for one in items])
    wanted = np.where(right == 1, said, 1 - said)  # yes
    missed = np.flatnonzero(right < 1).tolist()
    bias = [
        replace(mean_measure("yes_bias", (said - wanted).tolist()), closed_form=False),
        *([mean_measure("no_among_wrong", (1 - wanted).tolist(), missed)] if missed else []),
    ]
    groups = [_named(one, _GROUP) for one in items]
    hard = [group if _HARD in one.facets else "" for group, one in zip(groups, items, strict=True)]
    easy = ["" if _HARD in one.facets else group for group, one in zip(groups, items, strict=True)]
    told = [one.counts[1:] for one in items]
    wrong = [place for place, counts in enumerate(told) if any(counts)]
    causes = [
        mean_measure(name, [counts[place] for counts in told], wrong)
        for place, name in enumerate((LANGUAGE, VISION, MIXED))
        if all(told)
    ]
    return [*measures(items), all_right("easy qAcc", items, easy), all_right("hard qAcc", items, hard), *bias, *causes]


def measures(items: Sequence[Item]) -> list[Measure]:
    """Measure the mean of the three, each of them, each part's aAcc, and the share of yes."""
    figures = ["" if _UNSEEN in one.facets else _named(one, _FIGURE) for one in items]
    groups = [_named(one, _GROUP) for one in items]
    values = [one.score for one in items]
    parts = [mean_measure("aAcc", values), all_right("fAcc", items, figures), all_right("qAcc", items, groups)]
    kept = (_FIGURE, _GROUP, _HARD, _UNSEEN)
    facets = [(name, rows) for name, rows in facet_rows(items).items() if not name.startswith(kept)]
    return [
        _mean(parts, len(items)),
        *parts,
        *(mean_measure(name, values, rows) for name, rows in facets),
        mean_measure("yes_ratio", [one.counts[0] for one in items]),
    ]


def _named(one: Item | Question, kind: str) -> str:
    return next(facet for facet in one.facets if facet.startswith(kind))


def _is_original(question: Question) -> bool:
    """Tell a question about figure 0: the unedited picture, or of VS none."""
    return _named(question, _FIGURE).endswith("_0")


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
        ),
        "judge": Variant(
            meaning="a judge says right, wrong or unclear, of all 1,129 questions, and what wrong ones come from",
            read=partial(read, judge=True),
            judged=judged,
            measures=judged_measures,
        ),
    },
    default="rules",
    cluster="set of pictures",
    max_new_tokens=128,  # Source: lmms-eval `hallusion_bench`
    write_pictures=write_pictures,
)
