"""A small evaluation as a job: POPE's format, twelve questions about six pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tinyllava_core import job, recipe
from tinyllava_core.data.files.places import ImagePlaces

NUM_QUESTIONS = 12


def write_pope(path: Path) -> Path:
    """Write the questions: two about each picture, in three wordings."""
    rows = [
        {
            "question_id": number,
            "image": f"{number // 2}.png",
            "text": f"Is there {'a dog ' * (number % 3)}in the image?",
            "label": "yes" if number % 2 else "no",
        }
        for number in range(NUM_QUESTIONS)
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def write_job(out: Path, checkpoint: Path, annotations: Path, images: Path, **more: object) -> Path:
    """Write a job file beside its output folder."""
    settings = {"evaluate.precision": "fp32", "evaluate.batch_size": 2, "launch.device": "cpu"}
    todo = job.EvaluateJob.parse(
        {
            "recipe": recipe.load("toy", settings),
            "checkpoint": checkpoint,
            "benchmark": "test-pope",
            "scorer": "pope",
            "variant": "accuracy",
            "annotations": annotations,
            "images": ImagePlaces.one(images),
            "out": out,
            **more,
        },
        "test",
    )
    path = out.with_suffix(".yaml")
    todo.write(path)
    return path


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]
