"""The evaluation part of the story: every benchmark of the recipe on one checkpoint, images seen, blanked, corrupted.

Plain functions, not subflows: a subflow costs a second at its end, and stays Running when its parent is killed.
"""

from __future__ import annotations

from tasks.download import download
from tasks.evaluate import answer, evaluate
from tasks.inspect_benchmark import check_scored, inspect_benchmark
from tasks.run import Run
from tinyllava_core.artifact import Artifact


def fetch_benchmarks(run: Run) -> dict[str, Artifact]:
    """Download each benchmark of the recipe, by the recipe's word for it."""
    return {name: download(run, name) for name in run.recipe.all_benchmarks()}


def look_at(
    run: Run, benchmarks: dict[str, Artifact], sets: dict[str, Artifact], earlier: dict[str, Artifact]
) -> dict[str, Artifact]:
    """Check each benchmark that is scored; inspect the pictures of each that a mix is compared with, of this run or one `earlier`."""
    check_scored(run, benchmarks, sets)
    names = {name for stage in run.recipe.stages() for name in run.recipe.compared(stage)}
    names |= set(run.recipe.evaluate.benchmarks) if earlier else set()
    return {name: inspect_benchmark(run, name, benchmarks[name], sets) for name in benchmarks if name in names}


def score(run: Run, trained: Artifact, benchmarks: dict[str, Artifact], sets: dict[str, Artifact]) -> list[Artifact]:
    """Answer and score every benchmark, under every condition that the recipe asks for."""
    spent = answer(run, trained, benchmarks, sets)
    return [
        evaluate(run, name, benchmarks[name], trained, condition, sets, spent_s=spent.get((name, condition), 0.0))
        for name in run.recipe.evaluate.benchmarks
        for condition in run.recipe.evaluate.conditions
    ]
