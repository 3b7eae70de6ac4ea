"""Stage `mix`: which records of which sources, in which order. The order is made in data/mix/mix.py."""

from __future__ import annotations

from collections.abc import Mapping

from tasks.record import record
from tasks.run import Run
from tasks.source import Source
from tasks.stage import stage
from tinyllava_core.artifact import Artifact
from tinyllava_core.data.manifest.manifest import load
from tinyllava_core.data.mix import mix as core
from tinyllava_core.data.mix.spec import mix_spec


@stage("mix", task_run_name="mix: {stage}")
def mix(run: Run, stage: str, sources: Mapping[str, Source], benchmarks: Mapping[str, Artifact]) -> Artifact:
    """Lay out the records of one training stage, without those that show a picture of benchmarks if they are to be dropped.

    `sources`: at least those of its mix, by the recipe's word for them; `benchmarks`: inspected, at least those compared.
    """
    training, entries = run.recipe.training(stage), run.recipe.training(stage).mix
    drops = training.contamination.action == "drop"  # what is only reported is stage overlap's
    found = {load(name).name: benchmarks[name] for name in run.recipe.compared(stage) if drops}
    inputs = {f"inspect {sources[entry.source].name}": sources[entry.source].inspected for entry in entries}
    inputs |= {f"inspect {name}": inspected for name, inspected in found.items()}
    return record(
        run,
        "mix",
        stage,
        core.VERSION,
        mix_spec(run.recipe, stage),
        inputs,
        lambda folder: core.mix(
            [(entry, sources[entry.source].place) for entry in entries],
            run.recipe.seed,
            folder,
            duplicates=training.duplicates.dropping,
            contamination=training.contamination,
            benchmarks=[inspected.folder for inspected in found.values()],
        ),
    )
