"""Stage `download`: one source, image set or benchmark on this disk. What is fetched, and how, is in data/download/download.py."""

from __future__ import annotations

from typing import Any

from tasks.record import record
from tasks.run import Run
from tasks.running.progress import LOG, showing
from tasks.running.retry import may_help
from tasks.stage import stage
from tinyllava_core.artifact import Artifact
from tinyllava_core.data.download import download as core
from tinyllava_core.data.download.embedded.chosen import TABLE
from tinyllava_core.data.manifest.local_copies import with_copies
from tinyllava_core.data.manifest.local_files import local_digest
from tinyllava_core.data.manifest.manifest import Manifest, load
from tinyllava_core.evaluate.score.benchmarks import benchmark
from tinyllava_core.results import DownloadResult
from tinyllava_core.toyworld.server import serving

# fields of a manifest that change nothing of what is fetched
UNCHANGING = (
    "description",
    "homepage",
    "scorer",
    "variant",
    "components",
    "tree",
    "manual",
    "standalone",
    "about_gb",
    "about_records",
)
NOT_FETCHED: dict[str, Any] = dict.fromkeys(UNCHANGING, True)
NOT_FETCHED |= {"images": {"__all__": {"url_table": {"distributor"}}}}


def what_is_fetched(manifest: Manifest) -> dict[str, Any]:
    """Give the spec of what a manifest says of its data: all that may change a byte of it."""
    spec = {"manifest": manifest.model_dump(mode="json", exclude=NOT_FETCHED), "local": local_digest(manifest)}
    shares = manifest.annotations is not None and manifest.annotations.shares_names
    return spec | ({"files": "each in its place"} if shares else {})  # before, the last of one name was all there was


@stage(
    "download", task_run_name="download: {source}", retries=2, retry_delay_seconds=[5, 60], retry_condition_fn=may_help
)
def download(run: Run, source: str, chosen: Artifact | None = None) -> Artifact:
    """Download what a manifest names, or what is `chosen` of it. Raises BadInput if it is not as the manifest says."""
    manifest = with_copies(load(source), run.recipe.data)
    cache = run.workspace / "cache"
    take_out = benchmark(manifest.scorer).write_pictures if manifest.scorer else None
    with showing(f"download {manifest.name}") as show:
        artifact = record(
            run,
            "download",
            manifest.name,
            core.VERSION,
            what_is_fetched(manifest),
            inputs={"choose": chosen} if chosen else {},
            make=lambda folder: _brought(
                manifest,
                folder,
                cache,
                on_progress=show,
                take_out=take_out,
                serve=serving,
                chosen=chosen.folder / TABLE if chosen else None,
            ),
        )
    result = artifact.result(DownloadResult)
    if result.num_expected not in (None, result.num_files):
        LOG.warning("%s: %s files, the manifest expects %s", manifest.name, result.num_files, result.num_expected)
    return artifact


def _brought(manifest: Manifest, *args: Any, **how: Any) -> DownloadResult:
    """Download, and say of a server that does not answer whose it is and what else may be done."""
    try:
        return core.download(manifest, *args, **how)
    except ConnectionError as error:
        copy = f"name a copy, --set 'data.local={{{manifest.name}: PLACE}}', or leave it out of the recipe"
        raise type(error)(f"{manifest.kind} {manifest.name}: {error}; try again later, {copy}") from error
