"""Run a stage and remember it: find or make its artifact, leave its lineage rows, print its line, show it in Prefect.

It knows no stage's work.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect.artifacts import create_markdown_artifact
from prefect.context import TaskRunContext
from pydantic import BaseModel

from tasks.run import NotMade, Run
from tasks.running.books import leave, publish
from tasks.running.events import of_stage
from tasks.running.progress import LOG, slug
from tasks.running.shown import show, size, table
from tinyllava_core.artifact import Artifact, canonical, find_made, make_once
from tinyllava_core.results import RESULTS

SHOWN: dict[str, tuple[str, ...]] = {  # the numbers of a stage's one line; all of them are in its lineage row
    "start": ("size_bytes",),
    "choose": ("num_rows", "num_chosen", "size_bytes"),
    "download": ("num_files", "size_bytes", "num_failed"),
    "inspect": ("num_records", "num_dropped", "num_images"),
    "mix": ("num_records", "num_images", "num_text_only", "num_left_out"),
    "overlap": ("num_records", "num_pairs"),
    "shard": ("num_shards", "num_records", "size_bytes"),
    "plan": ("num_steps", "num_records", "num_tokens", "num_supervised", "num_voided"),
    "features": ("num_images", "size_bytes"),
    "train": ("num_steps", "first_loss", "last_loss", "num_trained", "num_lives"),
    "evaluate": ("score", "stderr", "num_questions", "num_unparsed"),
    "attribute": ("num_records", "num_questions", "store_bytes", "seconds", "score_seconds"),
    "retrain": ("num_records", "num_void", "last_loss"),
    "attribution_check": ("num_rows", "num_trainings"),
    "merge": ("num_checkpoints", "num_mixes", "num_questions"),
    "mix_search": ("num_mixes", "num_trained", "foretold", "num_shown"),
    "export": ("size_bytes", "max_logit_difference"),
    "report": ("num_tables", "num_figures", "size_bytes"),
}


# The libraries whose code computes what a stage leaves, each by major.minor in the fingerprint: a release that may change
# numbers makes the stage anew, a patch does not. Stages downstream follow through their inputs.
PICTURES, MODEL = ("pillow", "simplejpeg"), ("torch", "transformers", "tokenizers")
COMPUTED_WITH: dict[str, tuple[str, ...]] = {
    "inspect": PICTURES,
    "plan": ("tokenizers",),
    "features": (*PICTURES, *MODEL),
    "train": (*PICTURES, *MODEL),
    "evaluate": (*PICTURES, *MODEL),
    "attribute": (*PICTURES, *MODEL),
    "retrain": (*PICTURES, *MODEL),
    "merge": (*PICTURES, *MODEL),
    "export": MODEL,
}


def record(
    run: Run,
    stage: str,
    name: str,
    version: int,
    spec: BaseModel | Mapping[str, Any],
    inputs: Mapping[str, Artifact],
    make: Callable[[Path], Any],
    resumable: bool = False,
    spent_s: float = 0.0,
) -> Artifact:
    """Give a stage's artifact, found or made, and remember that this run has it.

    `stage`: the folder's word; `name`: which one of them. `resumable`: `make` goes on in the folder of a killed one. `spent_s`: what was
    spent on it before, together with others.
    """
    started_at, started = datetime.now(UTC), time.monotonic()
    spec = spec_of(stage, spec)
    if run.looking:
        if (there := find_made(run.workspace, stage, version, spec, inputs)) is None:
            raise NotMade(f"{stage} {name}")
        return there
    with of_stage(run.events, stage, name, inputs) as ended:
        artifact = make_once(run.workspace, stage, version, spec, inputs, make, resumable=resumable)
        ended(artifact)
    seconds = round(time.monotonic() - started + spent_s, 3)
    _remember(run, artifact)
    row = {
        "run_id": run.run_id,
        "stage": stage,
        "name": name,
        "fingerprint": artifact.fingerprint,
        "made": artifact.made,
        "started_at": started_at,
        "seconds": seconds,
        "task_run_id": _task_run_id(),
    }
    leave(run.workspace, "stage", f"{run.run_id} {stage} {name}", [row])
    if artifact.made:
        publish(run.workspace)  # what was found changes nothing but the table of stages: the run's end publishes that
    how = f"made in {seconds:.1f} s" if artifact.made else "cached"
    LOG.info("%s", f"{f'{stage:<9} {name}':<26} {numbers(artifact)}, {how}")
    _show(artifact, name, how)
    return artifact


def spec_of(stage: str, spec: BaseModel | Mapping[str, Any]) -> dict[str, Any]:
    """Give the whole spec of a stage's artifact: what the stage says, and the versions of the libraries that compute."""
    libraries = {name: minor(installed(name)) for name in COMPUTED_WITH.get(table_of(stage), ())}
    return {**canonical(spec), **({"computed_with": libraries} if libraries else {})}


@functools.cache  # 4 ms, and a run asks some fifty times
def installed(library: str) -> str:
    """Give the version of a library that is installed."""
    return importlib.metadata.version(library)


def minor(version: str) -> str:
    """Cut a version down to major.minor."""
    return ".".join(version.split("+")[0].split(".")[:2])


def numbers(artifact: Artifact) -> str:
    """Say an artifact's most telling numbers in words."""
    table = table_of(artifact.stage)
    result = artifact.manifest()["result"]
    return ", ".join(_words(field, result[field]) for field in SHOWN[table])


def _words(field: str, value: Any) -> str:
    if value is None:
        return f"no {field}"
    if field == "size_bytes":
        return size(value)
    if field == "num_lives":
        return "started once" if value == 1 else f"started {value} times"
    if field == "num_voided":
        return f"{value:,} not trainable"
    if field.startswith("num_"):
        return f"{value:,} {field.removeprefix('num_').replace('_', ' ')}"
    return f"{field.replace('_', ' ')} {value:.4g}"


def table_of(stage: str) -> str:
    """Name the lineage table of a stage's results: the training stages share one."""
    return stage if stage in RESULTS else "train"


def _remember(run: Run, artifact: Artifact) -> None:
    """Leave an artifact's rows, unless they are there. Its own row goes last: where it is, the others are."""
    key = artifact.fingerprint
    if not artifact.made and (run.workspace / "lineage" / "fragments" / "artifact" / f"{key}.parquet").is_file():
        return
    told = artifact.manifest()
    result = {"fingerprint": key, **told["result"]}
    edges = [{"fingerprint": key, "input": name, "input_fingerprint": of} for name, of in told["inputs"].items()]
    row = {field: told[field] for field in ("fingerprint", "stage", "version", "made_at", "seconds", "size_bytes")}
    row |= {"folder": str(artifact.folder), "spec_json": json.dumps(told["spec"], sort_keys=True)}
    leave(run.workspace, table_of(artifact.stage), key, [result])
    leave(run.workspace, "edge", key, edges)
    leave(run.workspace, "artifact", key, [row])


def _task_run_id() -> str | None:
    context = TaskRunContext.get()
    return str(context.task_run.id) if context else None


def _show(artifact: Artifact, name: str, how: str) -> None:
    """Show an artifact on Prefect's page of its task, and there in the task's name that it was found."""
    context = TaskRunContext.get()
    if context is not None and not artifact.made:
        context.task_run.name += " (cached)"  # sent along with the task's last state
    title = artifact.stage if name in ("", artifact.stage) else f"{artifact.stage} {name}"
    place = "/".join(artifact.folder.parts[-3:])  # from the workspace: a long line would leave a narrow page
    text = f"### {title}\n\n{how}, in `{place}`\n\n{table(artifact.manifest()['result'])}\n"
    said = f"{title}: {numbers(artifact)}, {how}"
    key = slug(title)
    show(title, create_markdown_artifact, markdown=text, key=key, description=said)
