"""How long `tinyllava score vqa` takes on as many questions as VQAv2 val has, and where the time goes.

Makes files of the official shape (214,354 questions, ten answers each; words and their frequencies are made up), runs the
command in a process of its own, then times the parts in this one. `python benchmarks/scoring.py [--questions N]`
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinyllava_core.evaluate.questions.answers import read_llava
from tinyllava_core.evaluate.questions.questions import Files, read_json
from tinyllava_core.evaluate.score.benchmarks import benchmark
from tinyllava_core.evaluate.score.leave import leave_items
from tinyllava_core.evaluate.score.score_file import path_sha256
from tinyllava_core.evaluate.score.scoring import estimates, score

# The peak out of /proc: getrusage's would be that of this process, which made the data, if that is higher.
COMMAND = """
import pathlib, sys
from tinyllava_core.cli import main
code = main()
print(next(line for line in pathlib.Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line), file=sys.stderr)
sys.exit(code)
"""
NUM_QUESTIONS = 214_354  # VQAv2 val; about 5.3 to a picture
WORDS = ["yes", "no", "1", "two", "white", "t-shirt", "a dog", "dont know", "1,000", "tennis racket", "on the table."]


def make(folder: Path, num_questions: int) -> tuple[Path, Path]:
    """Write annotations and answers of the official shape."""
    rng = random.Random(0)
    rare = [f"thing {n}" for n in range(30_000)]
    rows, answers = [], []
    for n in range(num_questions):
        likely = rng.choice(WORDS if rng.random() < 0.8 else rare)
        given = [likely if rng.random() < 0.7 else rng.choice(WORDS) for _ in range(10)]
        people = [{"answer": text, "answer_confidence": "yes", "answer_id": k} for k, text in enumerate(given, start=1)]
        kind = ("yes/no", "number", "other")[n % 3]
        rows.append(
            {
                "question_type": f"what is the {n % 65}",
                "multiple_choice_answer": likely,
                "answers": people,
                "image_id": n * 10 // 53,
                "answer_type": kind,
                "question_id": n,
            }
        )
        prompt = f"What is {n}?\nAnswer the question using a single word or phrase."
        said = likely.capitalize() if rng.random() < 0.6 else rng.choice(WORDS)
        answers.append(
            {"question_id": n, "prompt": prompt, "text": said, "answer_id": "x" * 22, "model_id": "m", "metadata": {}}
        )
    annotations = folder / "v2_mscoco_val2014_annotations.json"
    annotations.write_text(json.dumps({"data_subtype": "val2014", "annotations": rows}))
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    return annotations, folder / "answers.jsonl"


def timed(rows: list[tuple[str, float]], what: str, work: Callable[[], Any]) -> Any:
    """Do something, and note how much of a core's time it took."""
    started = time.process_time()
    result = work()
    rows.append((what, time.process_time() - started))
    return result


def parts(annotations: Path, answers: Path, folder: Path) -> list[tuple[str, float]]:
    """Time the parts one after the other."""
    row, rows = benchmark("vqa"), []
    variant = row.variant(None)
    timed(rows, "JSON of the annotations", lambda: read_json(annotations))
    questions = timed(
        rows, "annotations, checked, as questions", lambda: variant.read(Files(annotations=annotations, asking=False))
    )
    given = timed(rows, "answer file", lambda: read_llava(answers))
    mark = variant.mark
    assert mark is not None
    items = timed(rows, "normalise and compare", lambda: mark(questions, given.texts))
    timed(rows, "the same again, every text known", lambda: mark(questions, given.texts))
    timed(rows, "means, errors, intervals", lambda: estimates(variant, items))
    scored = score(row, None, questions, given.texts)
    timed(rows, "write the items", lambda: leave_items(folder / "items.jsonl", scored, given.texts))
    timed(rows, "hash the files", lambda: [path_sha256(path) for path in (annotations, answers)])
    return rows


def main() -> None:
    """Make the files, run the command, time the parts, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=NUM_QUESTIONS)
    num_questions = parser.parse_args().questions
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        annotations, answers = make(folder, num_questions)
        size = (annotations.stat().st_size + answers.stat().st_size) / 1e6
        words = ["score", "vqa", "--answers", answers, "--annotations", annotations, "--out", folder / "scores.json"]
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, *map(str, words)], check=True, capture_output=True, text=True
        )
        peak_kib = int(done.stderr.split()[-2])
        seconds = time.perf_counter() - started
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        core_seconds = used.ru_utime + used.ru_stime
        print(f"{num_questions:,} questions, {size:.0f} MB of JSON; seconds of one core")
        print(f"{'the whole command':<36} {core_seconds:6.1f} s   ({seconds:.1f} s of wall clock, ", end="")
        print(f"on a machine that was not idle; peak {peak_kib / 2**20:.2f} GiB)")
        gc.disable()  # as the command does
        for what, part in parts(annotations, answers, folder):
            print(f"  {what:<34} {part:6.1f} s")


if __name__ == "__main__":
    main()
