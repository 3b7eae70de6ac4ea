"""The data part of the story: every source once, then mix, shard and plan for one training stage.

Plain functions, not subflows: a subflow costs a second at its end, and stays Running when its parent is killed.
"""

from __future__ import annotations

from tasks.choose import choose
from tasks.download import download
from tasks.features import features
from tasks.inspect import inspect
from tasks.mix import mix
from tasks.overlap import overlap
from tasks.plan import plan
from tasks.run import Run
from tasks.shard import shard
from tasks.source import Source, choices, loss_limits, set_names, source_images
from tinyllava_core.artifact import Artifact
from tinyllava_core.recipe import Contamination, StageName


def fetch_images(run: Run) -> dict[str, Artifact]:
    """Download each image set of the recipe's sources and benchmarks, once, whatever number of them draws on it."""
    return {name: download(run, name) for name in set_names(run.recipe)}


def gather(run: Run, sets: dict[str, Artifact]) -> dict[str, Source]:
    """Download and inspect each source of the recipe, once, by the recipe's word for it; of a big one what was chosen first."""
    sources = {}
    for name, max_lost_fraction in loss_limits(run.recipe).items():
        chosen = choose(run, name) if name in choices(run.recipe) else None
        downloaded = download(run, name, chosen)
        inspected = inspect(run, name, downloaded, max_lost_fraction, sets)
        sources[name] = Source(downloaded=downloaded, inspected=inspected, images=source_images(name, downloaded, sets))
    return sources


def mix_all(run: Run, sources: dict[str, Source], benchmarks: dict[str, Artifact]) -> dict[StageName, Artifact]:
    """Mix the sources of every training stage. `benchmarks`: inspected; what shows their pictures can be dropped."""
    return {stage: mix(run, stage, _used(run, stage, sources), benchmarks) for stage in run.recipe.stages()}


def find_overlaps(
    run: Run, mixes: dict[StageName, Artifact], earlier: dict[str, Artifact], benchmarks: dict[str, Artifact]
) -> dict[str, Artifact]:
    """Tell what each mix has twice, and what it shares with benchmarks, where the recipe wants it reported.

    `earlier`: the mixes that trained the checkpoint which the run starts from; they are compared with the scored benchmarks.
    """
    found: dict[str, Artifact] = {}
    for stage, mixed in mixes.items():
        asked = run.recipe.training(stage)
        if asked.duplicates.reporting.exact:
            found[stage] = overlap(run, stage, mixed, asked.duplicates)
        if asked.contamination.action == "report" and run.recipe.compared(stage):
            theirs = {name: benchmarks[name] for name in run.recipe.compared(stage)}
            found[f"{stage} benchmarks"] = overlap(run, f"{stage} benchmarks", mixed, asked.contamination, theirs)
    theirs = {name: benchmarks[name] for name in run.recipe.evaluate.benchmarks if earlier}
    for stage_before, mixed in earlier.items() if theirs else ():
        name = f"{stage_before} benchmarks, before"
        found[name] = overlap(run, name, mixed, Contamination(), theirs)
    return found


def lay_out(run: Run, stage: StageName, mixed: Artifact, sources: dict[str, Source]) -> tuple[Artifact, Artifact]:
    """Write the shards of one training stage and plan every step. Gives the shards and the plan."""
    shards = shard(run, stage, mixed, _used(run, stage, sources))
    return shards, plan(run, stage, shards)


def _used(run: Run, stage: StageName, sources: dict[str, Source]) -> dict[str, Source]:
    return {entry.source: sources[entry.source] for entry in run.recipe.training(stage).mix}


def keep_features(run: Run, stage: StageName, data: tuple[Artifact, Artifact]) -> Artifact | None:
    """Encode a stage's images once, where the recipe wants their features kept."""
    shards, _ = data
    return features(run, stage, shards) if run.recipe.training(stage).keep_features else None
