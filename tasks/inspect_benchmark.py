"""Stage `inspect` of a benchmark: its pictures looked at once, to be compared with those of the mixes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tasks.record import record
from tasks.run import Run
from tasks.running.progress import showing
from tasks.source import image_places, set_inputs
from tasks.stage import stage
from tinyllava_core.artifact import Artifact
from tinyllava_core.data.inspect import images as core
from tinyllava_core.data.manifest.manifest import Manifest, load
from tinyllava_core.evaluate.questions.questions import Files
from tinyllava_core.evaluate.score.benchmarks import benchmark as row
from tinyllava_core.evaluate.score.ready import check_benchmark, files_here
from tinyllava_core.results import DownloadResult, InspectResult


def check_scored(run: Run, benchmarks: Mapping[str, Artifact], sets: Mapping[str, Artifact]) -> None:
    """Look whether each benchmark that was fetched can be scored, before a model is trained for it. Raises BadInput.

    What was on this disk when the run began was looked at then.
    """
    for name in () if run.looking else run.recipe.evaluate.benchmarks:
        manifest = load(name)
        if files_here(manifest, run.recipe.data) is None:
            check_benchmark(manifest, _files(manifest, benchmarks[name], sets))


@stage("inspect", task_run_name="inspect: {benchmark}")
def inspect_benchmark(run: Run, benchmark: str, downloaded: Artifact, sets: Mapping[str, Artifact]) -> Artifact:
    """Look at every picture that a benchmark asks about. `sets`: at least the image sets that it draws on."""
    manifest = load(benchmark)
    assert manifest.scorer is not None, f"{benchmark} is no benchmark: check_manifests should have said so"
    variant, files = row(manifest.scorer).variant(manifest.variant), _files(manifest, downloaded, sets)
    images = files.images
    assert images is not None
    with showing(f"inspect {manifest.name}") as show:

        def make(folder: Path) -> InspectResult:
            asked = [(str(question.question_id), question.image) for question in variant.read(files)]
            processes = run.recipe.launch.data_processes
            return core.inspect_benchmark(manifest.name, asked, images, folder, processes=processes, on_progress=show)

        return record(
            run,
            "inspect",
            manifest.name,
            core.VERSION,
            {"scorer": manifest.scorer, "variant": manifest.variant},
            {"download": downloaded, **set_inputs(manifest, sets)},
            make,
        )


def _files(manifest: Manifest, downloaded: Artifact, sets: Mapping[str, Artifact]) -> Files:
    """Tell where the questions and pictures of a downloaded benchmark are."""
    told = downloaded.result(DownloadResult)
    assert told.annotations is not None, f"{manifest.name}: its download left no annotations"
    annotations = downloaded.folder / told.annotations  # an absolute path stays itself
    return Files(annotations=annotations, images=image_places(manifest, downloaded, sets))
