"""Successive halving: every variant of a study takes the first part of its last stage's steps; the better ones go on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect import flow

from flows.data import fetch_images, gather, keep_features, lay_out, mix_all
from flows.evaluation import fetch_benchmarks, look_at
from tasks.of_study.part import Part, Rung, rank, train_part
from tasks.of_study.variants import Planned, parts_of
from tasks.run import begin
from tasks.running.named import name_of_run
from tasks.start import mixes_behind, start
from tasks.train import train
from tinyllava_core.recipe import load


@flow(name="tinyllava", flow_run_name=name_of_run, persist_result=False)
def first_part(recipe: str, overrides: dict[str, Any], workspace: str, part: float) -> Part:
    """Make what the last stage needs, take a part of its steps, and measure. The whole pipeline then goes on from there."""
    with begin(load(recipe, overrides), overrides, workspace) as run:
        started = start(run) if run.recipe.start else None
        earlier = mixes_behind(run, started)
        sets = fetch_images(run)
        sources = gather(run, sets)
        mixes = mix_all(run, sources, look_at(run, fetch_benchmarks(run), sets, earlier))
        *before, last = mixes
        trained = started
        for stage in before:
            laid = lay_out(run, stage, mixes[stage], sources)
            trained = train(run, stage, *laid, start=trained, features=keep_features(run, stage, laid))
        laid, seen = lay_out(run, last, mixes[last], sources), [*earlier.values(), *(mixes[stage] for stage in before)]
        return train_part(
            run, last, *laid, start=trained, features=keep_features(run, last, laid), part=part, mixes_before=seen
        )


def halve(study: str, planned: Sequence[Planned], workspace: str) -> tuple[list[Planned], list[Rung]]:
    """Cut a study's runs after each of its parts. Gives the runs that go on to their end, and what became of all at each part."""
    rungs: list[Rung] = []
    for part in parts_of(study):
        ended = [first_part(run.recipe, run.overrides, workspace, part, return_state=True) for run in planned]
        rungs.append(rank(study, part, planned, ended))
        planned = rungs[-1].going
    return list(planned), rungs
