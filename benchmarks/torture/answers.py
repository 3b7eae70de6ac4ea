"""Mutated answer files (and official files): refused in one line, or every question has its score and the scores are numbers."""

from __future__ import annotations

import json
import math
import random
import shutil
import tempfile
from pathlib import Path

from benchmark_samples import SAMPLES

from benchmarks.torture.annotations import JSON_WORDS, bent
from benchmarks.torture.mutate import mutated, refused
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.score.benchmarks import BENCHMARKS
from tinyllava_core.evaluate.score.score_file import Scoring, lines, score_file

SCORED = sorted(name for name in SAMPLES if not BENCHMARKS[name].variant(None).judged)
WORDS = (
    *JSON_WORDS,
    b'"text": ',
    b'"question_id": ',
    b"yes",
    b"Yes or no",
    b"(A)",
    b"[0.1, 0.2, 0.3, 0.4]",
    b"\n",
    b"3.0",
)


def try_answers(chance: random.Random) -> str:
    """Score a benchmark whose answers, or whose official file, were changed by structure or by bytes."""
    name = chance.choice(SCORED)
    with tempfile.TemporaryDirectory() as place:
        sample = SAMPLES[name](Path(place) / name)
        of_answers = chance.random() < 0.8
        file = sample.answers if of_answers else chance.choice(_files(sample.annotations))
        if of_answers and file.is_file() and chance.random() < 0.6:
            rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
            at, only_text = chance.randrange(len(rows)), chance.random() < 0.6
            if only_text and isinstance(rows[at], dict):
                rows[at]["text"] = mutated(str(rows[at].get("text", "")).encode() + b" ", chance, WORDS).decode(
                    errors="replace"
                )
            else:
                rows[at] = bent(rows[at], chance)
            file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        elif file.is_file():
            file.write_bytes(mutated(file.read_bytes(), chance, WORDS))
        else:
            shutil.rmtree(file)
        out = Path(place) / "scores.json"
        row = BENCHMARKS[name]
        todo = Scoring(
            benchmark=row, variant=None, answers=sample.answers, annotations=sample.annotations, out=out,
            missing_allowed=chance.random() < 0.3,
        )  # fmt: skip
        try:
            told = score_file(todo)
        except BadInput as error:
            assert not out.exists(), "refused, and wrote scores"
            return refused(error)
        assert len(told.scored.items) == told.result.num_questions > 0
        for one in (told.scored.headline, *told.scored.subscores):
            assert math.isfinite(one.value), f"{one.name} is {one.value}"
        assert lines(told)
        json.loads(out.read_text(encoding="utf-8"))
        return "scored"


def _files(place: Path) -> list[Path]:
    return sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
