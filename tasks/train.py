"""Stages `pretrain`, `second_pretrain` and `sft`: a trained checkpoint. The training is a process of its own, tinyllava_core/train."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect.artifacts import create_image_artifact

from tasks.record import record
from tasks.run import Run
from tasks.running.books import leave, publish
from tasks.running.launch import JobFailed, launch
from tasks.running.progress import LOG, slug
from tasks.running.reports import drawn
from tasks.running.shown import address, show
from tasks.stage import stage
from tinyllava_core.artifact import Artifact, file_sha256
from tinyllava_core.data.inspect.small import inline
from tinyllava_core.job import TrainJob, read_result
from tinyllava_core.parts import VISIONS, Language, Vision, language_row
from tinyllava_core.parts.hub import commit_of
from tinyllava_core.recipe import Recipe, StageName
from tinyllava_core.results import TrainResult
from tinyllava_core.settings.launch import Launch

# Fields of a stage that leave its weights as they are. They are in the plan, an input with a fingerprint of its own:
IN_PLAN = {
    "mix",
    "duplicates",
    "contamination",
    "prompt",
    "writing",
    "max_length",
    "pack_length",
    "global_batch",
    "epochs",
    "group_by",
    "order",
    "sort_by",
    "void",
    "held_out",
}
# or say how the work is done. Weights made another way are equal up to rounding; a killed run may go on another way.
HOW = {
    "data_workers",
    "save_every",
    "held_out_every",
    "save_minutes",
    "max_lost_fraction",
    "gradient_checkpointing",
    "keep_features",
}


@stage("train", task_run_name="{stage}")
def train(
    run: Run,
    stage: StageName,
    shards: Artifact,
    plan: Artifact,
    start: Artifact | None,
    features: Artifact | None = None,
) -> Artifact:
    """Train one stage by its plan, from the checkpoint of the stage before or from the pretrained parts."""
    inputs = inputs_of(shards, plan, start)

    def make(folder: Path) -> TrainResult:
        job = take_steps(run, stage, inputs, features, folder)
        return read_result(folder, job.kind, TrainResult)

    trained = record(run, stage, stage, TrainJob.VERSION, train_spec(run.recipe, stage), inputs, make, resumable=True)
    for line in part_lines(trained):
        LOG.info("%s", line)
    told = trained.result(TrainResult)
    said = f"Loss of {stage}: {told.first_loss:.3g} at first, {told.last_loss:.3g} at last, {told.num_steps:,} steps"
    _show_loss(run, stage, trained.fingerprint, trained.folder, said)
    return trained


def inputs_of(shards: Artifact, plan: Artifact, start: Artifact | None) -> dict[str, Artifact]:
    """Name what goes into a training."""
    return {"shard": shards, "plan": plan} | ({"start": start} if start else {})


def take_steps(
    run: Run,
    stage: StageName,
    inputs: Mapping[str, Artifact],
    features: Artifact | None,
    folder: Path,
    until: int | None = None,
) -> TrainJob:
    """Train in the folder of a stage's artifact, from where a killed or paused life of it was, to its end or to step `until`."""
    for name in ("steps", "metrics", "lives"):
        (folder / f"{name}.jsonl").touch()  # the views read these as they grow: a step is seen once it is taken
    of = folder.name.strip(".").removesuffix(".partial")
    begun = {"run_id": run.run_id, "stage": stage, "name": stage, "fingerprint": of, "started_at": datetime.now(UTC)}
    leave(run.workspace, "begun", f"{run.run_id} {stage} {stage}", [begun])
    publish(run.workspace)
    recipe, start = run.recipe, inputs.get("start")
    job = TrainJob(
        stage=stage,
        recipe=recipe,
        shards=inputs["shard"].folder,
        plan=inputs["plan"].folder,
        start=start.folder / "checkpoint" if start else None,
        features=features.folder if features else None,
        commits=hub_commits(recipe) if starts_from_parts(recipe, stage) else {},
        out=folder,
        until=until,
    )
    _show_loss(run, stage, of, folder, f"Loss of {stage}, up to now: reload the page")
    launch_again_halved(job, recipe.launch)
    return job


def _show_loss(run: Run, stage: str, fingerprint: str, folder: Path, said: str) -> None:
    """Show the loss curve on Prefect's page: drawn when it is looked at, by the workspace's own server; by another as it is now."""
    url = address(run.workspace, stage, fingerprint) or inline(drawn(stage, folder).encode(), "svg+xml")
    show(f"loss of {stage}", create_image_artifact, image_url=url, key=slug(f"loss-{stage}"), description=said)


def launch_again_halved(job: TrainJob, how: Launch) -> None:
    """Run a training; once more if its GPU's memory was not enough, which the job notes, to halve its packs from then on."""
    was_halved = job.has_halved_packs
    try:
        launch(job, how, job.stage)
    except JobFailed as failed:
        if was_halved or not job.has_halved_packs:
            raise
        LOG.warning(
            "%s: out of memory; goes on from its last state with packs of half the size (%s)", job.stage, failed
        )
        launch(job, how, job.stage)


def part_lines(trained: Artifact) -> list[str]:
    """Say of each part of the model whether it was trained, how large it is, and whether its tensors moved."""
    rows = [json.loads(line) for line in (trained.folder / "parts.jsonl").open("rb")]
    return [
        f"{'':<9} - {row['part']:<14} {row['num_parameters']:,} parameters, {_trained(row)}, {row['num_tensors_moved']} tensors moved"
        for row in rows
    ]


def _trained(row: dict[str, Any]) -> str:
    if not row["num_trained"]:
        return "frozen"
    return f"{row['num_trained']:,} trained in {row['num_tensors_trained']} tensors"


def train_spec(recipe: Recipe, stage: StageName) -> dict[str, Any]:
    """Give what decides a stage's weights besides its inputs. The launcher, the number of processes and the device do not.

    Only a first stage can start from the parts' own weights; others' are in the checkpoint they start from.
    """
    training = recipe.training(stage).model_dump(
        mode="json", exclude=IN_PLAN | HOW | {"image_mode"}
    )  # it is in the model
    if training["average"] is None:
        del training["average"]  # weights from before this was a choice are still these
    if training["gradients_in"] == "fp32":
        del training["gradients_in"]  # the same
    spec = {"model": recipe.model_in(stage).model_dump(mode="json"), "training": training, "seed": recipe.seed}
    if starts_from_parts(recipe, stage):
        language, commits = language_row(recipe.model.language), hub_commits(recipe)
        weights = weights_id(language.weights, language.revision or commits.get(language.weights))
        spec["weights"] = [*vision_ids(recipe, commits), weights]
    return spec


def starts_from_parts(recipe: Recipe, stage: str) -> bool:
    """Tell whether a stage begins with the parts' published weights."""
    return stage == recipe.stages()[0] and recipe.start is None


def hub_commits(recipe: Recipe) -> dict[str, str]:
    """Find the commit of every part that comes from a hub and whose row pins none: it is in the fingerprint, and loaded."""
    rows: list[Vision | Language] = [*_vision_rows(recipe), language_row(recipe.model.language)]
    names = [row.weights for row in rows if row.revision is None and not Path(row.weights).is_dir()]
    return {name: commit for name in names if (commit := commit_of(name)) is not None}


def vision_ids(recipe: Recipe, commits: Mapping[str, str]) -> list[str | dict[str, str]]:
    """Name the weights of the vision encoder, of each member where it is a mixture."""
    return [weights_id(row.weights, row.revision or commits.get(row.weights)) for row in _vision_rows(recipe)]


def _vision_rows(recipe: Recipe) -> list[Vision]:
    vision = VISIONS[recipe.model.vision]
    return [VISIONS[member] for member in vision.mixture] or [vision]


def weights_id(weights: str, revision: str | None) -> str | dict[str, str]:
    """Name pretrained weights: a hub name with its revision, or the hashes of a local folder's files."""
    folder = Path(weights)
    if not folder.is_dir():
        return f"{weights}@{revision or 'newest'}"
    return {str(file.relative_to(folder)): file_sha256(file) for file in sorted(folder.rglob("*")) if file.is_file()}
