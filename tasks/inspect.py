"""Stage `inspect`: every record and image of one source looked at once. The judgement is in data/inspect/inspect.py."""

from __future__ import annotations

from collections.abc import Mapping

from tasks.record import record
from tasks.run import Run
from tasks.running.progress import LOG, showing
from tasks.source import choices, image_places, set_inputs
from tasks.stage import stage
from tinyllava_core.artifact import Artifact
from tinyllava_core.data.inspect import inspect as core
from tinyllava_core.data.manifest.local_copies import as_own
from tinyllava_core.data.manifest.manifest import load
from tinyllava_core.data.record.formats import sniff_file
from tinyllava_core.results import DownloadResult, InspectResult


@stage("inspect", task_run_name="inspect: {source}")
def inspect(
    run: Run, source: str, downloaded: Artifact, max_lost_fraction: float, sets: Mapping[str, Artifact]
) -> Artifact:
    """Sort a source's records into good and dropped. Raises BadInput if more than the given fraction is dropped.

    `sets`: at least the image sets that the source draws on. The fraction is no part of the fingerprint: it decides whether to go on, not what is good.
    """
    manifest, result = load(source), downloaded.result(DownloadResult)
    written = manifest.annotations
    assert written is not None, f"{source} has no records: check_manifests should have said so"
    read, components, count = downloaded.folder / (result.annotations or ""), manifest.components, written.count
    if source in choices(run.recipe):  # a part of the data set: the manifest counts all of it
        components, count = tuple(one.model_copy(update={"count": None}) for one in components), None
    form = written.format or sniff_file(read)
    if written.format is None:
        LOG.info("%s: its records look like the format %r", manifest.name, form)
    images, limits = image_places(manifest, downloaded, sets), run.recipe.inspect
    with showing(f"inspect {manifest.name}") as show:
        artifact = record(
            run,
            "inspect",
            manifest.name,
            core.VERSION,
            {"format": form, "count": count, "components": components, "limits": limits},
            {"download": downloaded, **set_inputs(manifest, sets)},
            lambda folder: core.inspect_source(
                downloaded.folder,
                result,
                form,
                1.0,
                folder,
                images=images,
                components=components,
                limits=limits,
                expected_count=count,
                as_own=as_own(manifest, read),
                processes=run.recipe.launch.data_processes,
                run_parts=run.run_parts,
                on_progress=show,
            ),
            resumable=True,
        )
    core.check_lost(artifact.result(InspectResult), artifact.folder, max_lost_fraction)
    return artifact
