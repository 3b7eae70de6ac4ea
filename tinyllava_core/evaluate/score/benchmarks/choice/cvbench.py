"""CV-Bench: 2,638 questions about counts, relations, depth and distance in pictures of ADE20K, COCO and Omni3D.

2D is the mean of ADE20K's and COCO's accuracies, 3D Omni3D's, the score the mean of 2D and 3D: the card's formula. lmms-eval's
headline is the pooled accuracy, here a sub-score. Source: the data's card; lmms-eval `cv_bench`.
"""

from __future__ import annotations

from collections.abc import Sequence

from tinyllava_core.evaluate.questions.cell_pictures import write_pictures
from tinyllava_core.evaluate.questions.questions import Files, Question
from tinyllava_core.evaluate.questions.table import Pictures, question_of, read_rows
from tinyllava_core.evaluate.score.benchmarks.rules.letters import LETTERS, head, marking, vlmevalkit
from tinyllava_core.evaluate.score.scoring import Benchmark, Item, Variant, facet_rows, mean_and_facets, mean_of_means
from tinyllava_core.evaluate.score.statistics import Measure

PLANE = {"source.ADE20K": 1.0, "source.COCO": 1.0}
SPACE = {"source.Omni3D": 1.0}
_NOTE = "Note: You only need to respond with {} without providing any additional information.\n\n"  # Source: lmms-eval
_FOLDERS = ("", "img/")


def read(files: Files) -> list[Question]:
    """Read `test_2d` and `test_3d`, Parquet in one folder or rows: idx, type, task, prompt, choices, answer as `(A)`, source."""
    pictures = Pictures(files, _FOLDERS, ("filename",) if files.annotations.suffix == ".jsonl" else ("image",))
    questions = []
    for row in read_rows(files.annotations):
        choices, idx = row.texts("choices"), row.number("idx")
        asked = row.text("prompt")
        questions.append(
            question_of(
                row,
                pictures.of(row, str(idx)),
                question_id=idx,
                text=_NOTE.format(", ".join(LETTERS[: len(choices)])) + asked,
                stem=asked,
                gold=(row.letter("answer", len(choices)),),
                choices=choices,
                facets=(f"source.{row.text('source')}", f"task.{row.text('task')}"),
            )
        )
    return questions


def measures(items: Sequence[Item]) -> list[Measure]:
    """Measure by the card's formula: the whole, 2D, 3D; pooled, each source's and each task's. What is not in the file is left out."""
    there = facet_rows(items)
    plane, space = ({name: one for name, one in side.items() if name in there} for side in (PLANE, SPACE))
    halves = {name: 0.5 / len(side) for side in (plane, space) for name in side}
    whole = {"cv_bench": halves} if plane and space else {}
    parts = whole | ({"2D": plane} if plane else {}) | ({"3D": space} if space else {})
    return [*(mean_of_means(name, items, weights) for name, weights in parts.items()), *mean_and_facets(items)]


CVBENCH = Benchmark(
    name="cvbench",
    variants={
        name: Variant(meaning=meaning, read=read, mark=marking(extract), measures=measures)
        for name, meaning, extract in (
            ("lmms-eval", "lmms-eval's first letter, the card's formula", lambda text, _: head(text)),
            ("vlmevalkit", "VLMEvalKit's letters without a judge, the card's formula", vlmevalkit),
        )
    },
    default="lmms-eval",
    cluster="image",
    max_new_tokens=1024,  # Source: lmms-eval `cv_bench`
    write_pictures=write_pictures,
)
