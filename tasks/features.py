"""Stage `features`: a frozen encoder's view of every image of a mix, made once. The encoding is a process of its own."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tasks.evaluate import one_process
from tasks.record import record
from tasks.run import Run
from tasks.running.launch import launch
from tasks.stage import stage
from tasks.train import hub_commits, vision_ids
from tinyllava_core.artifact import Artifact
from tinyllava_core.job import FeaturesJob, read_result
from tinyllava_core.recipe import StageName
from tinyllava_core.results import FeaturesResult


@stage("features", task_run_name="features: {stage}")
def features(run: Run, stage: StageName, shards: Artifact) -> Artifact:
    """Encode every image of a stage's shards. The connector and the language model are no part of the fingerprint."""
    recipe, parts, commits = run.recipe, run.recipe.model_in(stage), hub_commits(run.recipe)

    def make(folder: Path) -> FeaturesResult:
        job = FeaturesJob(stage=stage, recipe=recipe, shards=shards.folder, commits=commits, out=folder)
        launch(job, one_process(recipe.launch), f"features {stage}")
        return read_result(folder, job.kind, FeaturesResult)

    spec = {
        "weights": vision_ids(recipe, commits),
        "vision_layer": parts.vision_layer,
        "scheme": dataclasses.asdict(parts.scheme),
        "pixels": parts.pixels,
        "precision": recipe.training(stage).precision,
    }
    return record(run, "features", stage, FeaturesJob.VERSION, spec, {"shard": shards}, make, resumable=True)
