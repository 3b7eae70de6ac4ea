"""Stage `export`: a checkpoint in a format that others load. The work is a process of its own, tinyllava_core/model."""

from __future__ import annotations

from pathlib import Path

from tasks.evaluate import one_process
from tasks.record import record
from tasks.run import Run
from tasks.running.launch import launch
from tasks.stage import stage
from tinyllava_core.artifact import Artifact
from tinyllava_core.job import ExportJob, read_result
from tinyllava_core.results import ExportResult


@stage("export")
def export(run: Run, trained: Artifact) -> Artifact:
    """Write a checkpoint as a folder that transformers loads by itself, and compare the two."""

    def make(folder: Path) -> ExportResult:
        job = ExportJob(recipe=run.recipe, checkpoint=trained.folder / "checkpoint", out=folder)
        launch(job, one_process(run.recipe.launch), "export")
        return read_result(folder, job.kind, ExportResult)

    return record(run, "export", "", ExportJob.VERSION, {"format": run.recipe.export}, {"checkpoint": trained}, make)
