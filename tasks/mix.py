"""Stage `mix`: which records of which sources, in which order. The order is made in data/mix.py."""

from __future__ import annotations

from collections.abc import Mapping

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.record import record
from tasks.run import Run
from tasks.source import Source
from tinyllava_core.artifact import Artifact
from tinyllava_core.data import mix as core
from tinyllava_core.data.mix_spec import mix_spec


@task(name="mix", task_run_name="mix: {stage}", cache_policy=NO_CACHE, persist_result=False)
def mix(run: Run, stage: str, sources: Mapping[str, Source]) -> Artifact:
    """Lay out the records of one training stage. `sources`: at least those of its mix, by the recipe's word for them."""
    entries = run.recipe.training(stage).mix
    spec = mix_spec([(entry, sources[entry.source].name) for entry in entries], run.recipe.seed)
    inputs = {f"inspect {sources[entry.source].name}": sources[entry.source].inspected for entry in entries}
    return record(
        run,
        "mix",
        stage,
        core.VERSION,
        spec,
        inputs,
        lambda folder: core.mix([(e, sources[e.source].place) for e in entries], run.recipe.seed, folder),
    )
