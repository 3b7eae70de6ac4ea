"""The data part of the story: every source once, then mix, shard and plan for one training stage.

Plain functions, not subflows: a subflow costs a second at its end, and stays Running when its parent is killed.
"""

from __future__ import annotations

from tasks.download import download
from tasks.features import features
from tasks.inspect import inspect
from tasks.mix import mix
from tasks.plan import plan
from tasks.run import Run
from tasks.shard import shard
from tasks.source import Source, loss_limits, set_names, source_images
from tinyllava_core.artifact import Artifact
from tinyllava_core.recipe import StageName


def fetch_images(run: Run) -> dict[str, Artifact]:
    """Download each image set of the recipe's sources and benchmarks, once, whatever number of them draws on it."""
    return {name: download(run, name) for name in set_names(run.recipe)}


def gather(run: Run, sets: dict[str, Artifact]) -> dict[str, Source]:
    """Download and inspect each source of the recipe, once, by the recipe's word for it."""
    sources = {}
    for name, max_lost_fraction in loss_limits(run.recipe).items():
        downloaded = download(run, name)
        inspected = inspect(run, name, downloaded, max_lost_fraction, sets)
        sources[name] = Source(downloaded=downloaded, inspected=inspected, images=source_images(name, downloaded, sets))
    return sources


def lay_out(
    run: Run, stage: StageName, sources: dict[str, Source], benchmarks: dict[str, Artifact]
) -> tuple[Artifact, Artifact]:
    """Mix the sources of one training stage, write the shards, plan every step. Gives the shards and the plan.

    `benchmarks`: inspected, by the recipe's word for them; the mix's pictures are compared with theirs.
    """
    used = {entry.source: sources[entry.source] for entry in run.recipe.training(stage).mix}
    mixed = mix(run, stage, used, benchmarks)
    shards = shard(run, stage, mixed, used)
    return shards, plan(run, stage, shards)


def keep_features(run: Run, stage: StageName, data: tuple[Artifact, Artifact]) -> Artifact | None:
    """Encode a stage's images once, where the recipe wants their features kept."""
    shards, _ = data
    return features(run, stage, shards) if run.recipe.training(stage).keep_features else None
