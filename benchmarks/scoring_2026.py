"""How long `tinyllava score` takes on each benchmark from MMStar to RefCOCO at its official size: reading, scoring, writing.

Files of the official shapes and sizes, words made up; every third reply is a sentence, the others are as short as models
trained on LLaVA's data give them. `python benchmarks/scoring_2026.py [NAME ...]`
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinyllava_core.evaluate.questions.questions import Files
from tinyllava_core.evaluate.score.benchmarks import benchmark
from tinyllava_core.evaluate.score.score_file import Scoring, score_file

WORDS = [f"{start}{end}" for start in ("gra", "mo", "sel", "tor", "wi", "ka") for end in ("ph", "nt", "der", "lo", "x")]
Rows = list[dict[str, Any]]
RNG = random.Random(0)


def words(count: int) -> str:
    """Make up a phrase."""
    return " ".join(RNG.choices(WORDS, k=count))


def options(count: int) -> list[str]:
    """Make up options, all different."""
    return [f"{words(2)} {place}" for place in range(count)]


def letter(count: int) -> str:
    """Draw one of the letters."""
    return RNG.choice("ABCDEFGHIJ"[:count])


def people() -> list[dict[str, str]]:
    """Ten people's answers, most of them one."""
    likely = words(2)
    return [{"answer": likely if RNG.random() < 0.7 else words(1), "answer_confidence": "yes"} for _ in range(10)]


def ocrbench_v2_row(n: int) -> dict[str, Any]:
    """One of the kinds that need no library."""
    row = {"id": n, "question": words(9), "image_path": f"EN_part/{n}.jpg", "dataset_name": "x"}
    kind = n % 4
    if kind == 0:
        return row | {"type": "cognition VQA en", "answers": [words(2)]}
    if kind == 1:
        return row | {"type": "key information extraction en", "answers": [{words(1): [words(2)] for _ in range(4)}]}
    if kind == 2:
        return row | {
            "type": "document parsing en",
            "answers": ["\n".join(f"# {words(2)}\n{words(8)}" for _ in range(6))],
        }
    boxes = [[x, 1, x + 50, 1, x + 50, 40, x, 40] for x in range(0, 300, 60)]
    return row | {"type": "text spotting en", "bbox": boxes, "content": [words(1) for _ in boxes]}


ROWS: dict[str, tuple[int, Callable[[int], dict[str, Any]]]] = {
    "mmstar": (1500, lambda n: {"index": n, "question": f"{words(12)}\nOptions: A: a, B: b, C: c, D: d",
                                "answer": letter(4), "category": f"c{n % 6}", "l2_category": f"k{n % 18}"}),
    "ai2d": (3088, lambda n: {"question": words(10), "options": options(4), "answer": str(n % 4)}),
    "seedbench": (14_233, lambda n: {"question_id": str(n), "data_type": "image", "data_id": f"{n}", "answer": letter(4),
                                     "question": words(9), "question_type_id": 1 + n % 9}
                  | {f"choice_{one}": words(2) for one in "abcd"}),
    "realworldqa": (765, lambda n: {"question": f"{words(9)}\nA. {words(2)}\nB. {words(2)}", "answer": letter(2)}),
    "blink": (1901, lambda n: {"idx": f"val_{n}", "sub_task": f"t{n % 14}", "prompt": words(20), "question": words(9),
                               "choices": options(4), "answer": f"({letter(4)})", "image_1": "a.jpg"}),
    "cvbench": (2638, lambda n: {"idx": n, "type": "2D", "task": "Count", "prompt": words(20), "choices": options(4),
                                 "source": ("ADE20K", "COCO", "Omni3D")[n % 3], "answer": f"({letter(4)})",
                                 "filename": "a.png"}),
    "mmvp": (300, lambda n: {"Index": n + 1, "Question": words(8), "Options": "(a) Open (b) Closed",
                             "Correct Answer": f"({letter(2).lower()})"}),
    "mmmu-pro": (1730, lambda n: {"id": f"test_{n}", "question": f"<image 1> {words(20)}", "options": options(10),
                                  "answer": letter(10), "subject": f"s{n % 30}"}),
    "chartqa": (2500, lambda n: {"type": ("human_test", "augmented_test")[n % 2], "question": words(10),
                                 "answer": str(RNG.randint(1, 999))}),
    "docvqa": (5349, lambda n: {"questionId": n, "question": words(9), "image": f"{n // 4}.png", "question_types": ["form"],
                                "answers": [words(4), words(3)]}),
    "infovqa": (2801, lambda n: {"questionId": n, "question": words(9), "image_local_name": f"{n // 4}.png",
                                 "answers": [words(3)]}),
    "ocrbench": (1000, lambda n: {"dataset_name": "x", "type": "Key Information Extraction", "question": words(8),
                                  "answers": [words(2)], "image_path": f"{n}.jpg"}),
    "ocrbench-v2": (10_000, ocrbench_v2_row),
    "mathvista": (1000, lambda n: {"pid": str(n), "question": words(20), "image": f"{n}.jpg", "choices": options(4),
                                   "answer": "", "answer_type": "text", "question_type": "multi_choice"}),
    "vizwiz": (4319, lambda n: {"image": f"VizWiz_val_{n:08}.jpg", "question": words(8), "answers": people(),
                                "answer_type": "other"}),
    "hallusionbench": (951, lambda n: {"category": "VD", "subcategory": "ocr", "visual_input": "1", "set_id": n // 6,
                                       "figure_id": n % 3, "question_id": n % 6, "question": words(9),
                                       "gt_answer": str(n % 2), "filename": f"{n // 3}.png"}),
    "captions": (3166, lambda n: {"question_id": n, "caption_str": [words(11) for _ in range(5)], "image": f"{n}.jpg"}),
    "refcoco": (3811, lambda n: {"question_id": n, "answer": [words(3) for _ in range(3)], "bbox": [9, 9, 90, 90],
                                 "width": 640, "height": 480}),
}  # fmt: skip


def made(name: str) -> Rows:
    """Make a benchmark's rows up."""
    number, row = ROWS[name]
    rows = [row(n) for n in range(number)]
    for one in rows if name == "mathvista" else ():
        one["answer"] = one["choices"][0]
    return rows


def timed(name: str, folder: Path) -> tuple[int, float]:
    """Score a benchmark -> questions, seconds of one core from the files to the files."""
    annotations, answers = folder / f"{name}.jsonl", folder / "answers.jsonl"
    annotations.write_text("".join(json.dumps(row) + "\n" for row in made(name)))
    row = benchmark(name)
    questions = row.variant(None).read(Files(annotations=annotations, asking=False))
    with answers.open("w") as file:
        for place, one in enumerate(questions):
            text = f"The answer is {one.gold[0]}, {words(20)}" if place % 3 == 0 else one.gold[0]
            file.write(
                json.dumps({"question_id": one.question_id, "prompt": f"{one.stem} {one.text}", "text": text}) + "\n"
            )
    gc.collect()
    started = time.process_time()
    score_file(
        Scoring(benchmark=row, variant=None, answers=answers, annotations=annotations, out=folder / "scores.json")
    )
    return len(questions), time.process_time() - started


def main() -> None:
    """Score each, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(ROWS))
    print(f"{'benchmark':<16} {'questions':>9}  seconds of one core")
    with tempfile.TemporaryDirectory() as name:
        for one in parser.parse_args().names:
            count, seconds = timed(one, Path(name))
            print(f"{one:<16} {count:>9,} {seconds:>8.2f}", flush=True)


if __name__ == "__main__":
    main()
