"""Stage `attribute`: what ties a checkpoint's answers to the records of its plan. The gradients are taken in tinyllava_core/attribute."""

from __future__ import annotations

from pathlib import Path

from tasks.evaluate import one_process
from tasks.record import record
from tasks.run import Run
from tasks.running.launch import launch
from tasks.stage import stage
from tinyllava_core.artifact import Artifact
from tinyllava_core.job import AttributeJob, read_result
from tinyllava_core.results import AttributeResult
from tinyllava_core.why.found import evaluations_of, kept_gradients


@stage("attribute")
def attribute(run: Run, trained: Artifact, layers: bool = False) -> Artifact:
    """Keep a small gradient of every record of a training's plan and of every answer of its checkpoint, and the ends of each ranking."""
    plan, shards = (trained.input_from(name, run.workspace) for name in ("plan", "shard"))
    evaluations = evaluations_of(run.workspace, trained)
    kept = None if layers else kept_gradients(trained)

    def job(folder: Path) -> AttributeJob:
        return AttributeJob(
            stage=trained.stage,  # type: ignore[arg-type]  # it is a training's
            recipe=run.recipe,
            checkpoint=trained.folder / "checkpoint",
            shards=shards.folder,
            plan=plan.folder,
            evaluations=tuple(one.folder for one in evaluations),
            kept=kept,
            layers=layers,
            out=folder,
        )

    def make(folder: Path) -> AttributeResult:
        launch(job(folder), one_process(run.recipe.launch), "attribute")
        return read_result(folder, "attribute", AttributeResult)

    chosen = ("layers", "hidden", "error", "side", "seed", "damping")
    spec = {name: getattr(job(Path()), name) for name in chosen}
    spec["precision"] = run.recipe.training(trained.stage).precision
    if kept:
        spec["records"] = "in the run"
    inputs = {"checkpoint": trained, "plan": plan, "shard": shards}
    inputs |= {f"answers {number}": one for number, one in enumerate(evaluations)}
    return record(run, "attribute", trained.stage, AttributeJob.VERSION, spec, inputs, make, resumable=True)
