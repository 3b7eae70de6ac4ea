"""The evaluation part of the story: every benchmark of the recipe on one checkpoint, images seen and blanked.

Plain functions, not subflows: a subflow costs a second at its end, and stays Running when its parent is killed.
"""

from __future__ import annotations

from tasks.download import download
from tasks.evaluate import evaluate
from tasks.run import Run
from tinyllava_core.artifact import Artifact


def fetch_benchmarks(run: Run) -> dict[str, Artifact]:
    """Download each benchmark of the recipe, by the recipe's word for it."""
    return {name: download(run, name) for name in run.recipe.evaluate.benchmarks}


def score(run: Run, trained: Artifact, benchmarks: dict[str, Artifact], sets: dict[str, Artifact]) -> list[Artifact]:
    """Answer and score every benchmark, and once more blind where the recipe asks for it."""
    ways = (False, True) if run.recipe.evaluate.blind else (False,)
    return [
        evaluate(run, name, downloaded, trained, blind=blind, sets=sets)
        for name, downloaded in benchmarks.items()
        for blind in ways
    ]
