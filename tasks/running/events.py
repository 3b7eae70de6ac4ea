"""OpenLineage events of a run, where its recipe's `watch.openlineage` names a file or a server for them: what began, from what, how it ended.

A thread of its own hands them on: a server that is down, refuses or hangs neither ends a run nor holds it up. The lineage itself is DuckDB's.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from tasks.running.progress import LOG
from tinyllava_core import __version__
from tinyllava_core.artifact import Artifact
from tinyllava_core.checkpoints import KINDS
from tinyllava_core.data.web.opener import HTTP_FAULTS, MISLED, key_of, no_answer, post
from tinyllava_core.errors import BadInput

if TYPE_CHECKING:
    from openlineage.client.event_v2 import InputDataset, OutputDataset, RunEvent, RunState

NAMESPACE, PRODUCER = "tinyllava", "https://arxiv.org/abs/2402.14289"
KEY = "OPENLINEAGE_API_KEY"  # the name that OpenLineage's own clients give it
ENDPOINT = "/api/v1/lineage"  # of a server that is named by its host alone. Source: OpenLineage's HTTP transport
ANSWER_S, END_S = (
    5.0,
    10.0,
)  # a server's time for an event (the client's own), and a run's for those that wait at its end
EVENT = {"eventTime", "producer", "schemaURL"}  # what every event has. Source: OpenLineage.json 2-0-2, BaseEvent
LONGEST_LINE = 1 << 20  # of a file's first event, in bytes
ROWS = ("num_records", "num_rows", "num_questions")  # the first that a stage's result has are its rows


class Events:
    """The events of one run, handed on in their order."""

    def __init__(self, where: str, workspace: Path, run_id: str, recipe: str) -> None:
        from openlineage.client.event_v2 import set_producer
        from openlineage.client.uuid import generate_new_uuid

        set_producer(PRODUCER)  # of facets, which take it from there
        self.where = where if "://" in where else str(workspace / where)
        self._run, self._job, self._named = str(generate_new_uuid()), recipe, run_id
        self._waiting: SimpleQueue[RunEvent | None] = SimpleQueue()
        self._told, self._taken = 0, 0
        self._thread = threading.Thread(target=self._hand_on, name="openlineage", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def of_run(self) -> Iterator[None]:
        """Tell of the run that is done in the block; at its end, wait a little for what is not handed on yet."""
        try:
            with self._ending(self._run, self._job, {}):
                yield
        finally:
            self._waiting.put(None)
            self._thread.join(END_S)
            if self._taken < self._told:
                LOG.warning("openlineage %s took %d of this run's %d events", self.where, self._taken, self._told)

    @contextlib.contextmanager
    def of_stage(self, stage: str, name: str, inputs: Mapping[str, Artifact]) -> Iterator[Callable[[Artifact], None]]:
        """Tell of the stage that is made or found in the block, which hands its artifact over."""
        from openlineage.client.facet_v2 import parent_run
        from openlineage.client.uuid import generate_new_uuid

        parent = parent_run.ParentRunFacet(
            run=parent_run.Run(runId=self._run), job=parent_run.Job(namespace=NAMESPACE, name=self._job)
        )
        job = ".".join(dict.fromkeys((self._job, stage, name or stage)))
        read: list[InputDataset] = [_input(key, artifact) for key, artifact in inputs.items()]
        with self._ending(str(generate_new_uuid()), job, {"parent": parent}, read) as end:
            yield lambda artifact: end.update(
                outputs=[_output(name, artifact)],
                inputs=read + _fetched(artifact),
                found=not artifact.made,
            )

    @contextlib.contextmanager
    def _ending(
        self, run: str, job: str, facets: dict[str, Any], inputs: list[InputDataset] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Tell that something begins, and how it ended. What the block leaves in the dict is told with its end."""
        from openlineage.client.event_v2 import RunState
        from openlineage.client.facet_v2 import error_message_run

        end: dict[str, Any] = {"inputs": inputs or []}
        self._tell(RunState.START, run, job, facets, inputs=inputs or [])
        try:
            yield end
        except Exception as error:
            said = error_message_run.ErrorMessageRunFacet(
                message=f"{type(error).__name__}: {error}", programmingLanguage="PYTHON"
            )
            self._tell(RunState.FAIL, run, job, {**facets, "errorMessage": said}, inputs=inputs or [])
            raise
        except BaseException:  # somebody ended it
            self._tell(RunState.ABORT, run, job, facets, inputs=inputs or [])
            raise
        self._tell(RunState.COMPLETE, run, job, facets, **end)

    def _tell(
        self,
        state: RunState,
        run: str,
        job: str,
        facets: dict[str, Any],
        inputs: list[InputDataset],
        outputs: list[OutputDataset] | None = None,
        found: bool = False,
    ) -> None:
        from openlineage.client.event_v2 import Job, Run, RunEvent
        from openlineage.client.facet_v2 import job_type_job, processing_engine_run, tags_run

        engine = processing_engine_run.ProcessingEngineRunFacet(version=__version__, name="tinyllava-pipelines")
        words = {"run": self._named} | ({"cached": "true"} if found else {})
        tags = [tags_run.TagsRunFacetFields(key=key, value=value, source="TINYLLAVA") for key, value in words.items()]
        kind = job_type_job.JobTypeJobFacet(
            processingType="BATCH", integration="TINYLLAVA", jobType="TASK" if "parent" in facets else "DAG"
        )
        self._told += 1
        self._waiting.put(
            RunEvent(
                eventTime=datetime.now(UTC).isoformat(),
                eventType=state,
                run=Run(run, {**facets, "processing_engine": engine, "tags": tags_run.TagsRunFacet(tags)}),
                job=Job(NAMESPACE, job, {"jobType": kind}),
                producer=PRODUCER,
                inputs=inputs,
                outputs=outputs or [],
            )
        )

    def _hand_on(self) -> None:
        """Hand events on until the run's last; of those that are not taken, say why once."""
        emit, failed = None, False
        while (event := self._waiting.get()) is not None:
            try:
                emit = emit or opened(self.where)
                emit(event)
                self._taken += 1
            except Exception as error:
                if not failed:
                    LOG.warning("openlineage %s %s; the run goes on without", self.where, _reason(error, self.where))
                failed = True


@contextlib.contextmanager
def of_run(where: str | None, workspace: Path, run_id: str, recipe: str) -> Iterator[Events | None]:
    """Tell of the run that is done in the block, where somebody is to be told."""
    if where is None:
        yield None
        return
    events = Events(where, workspace, run_id, recipe)
    with events.of_run():
        yield events


@contextlib.contextmanager
def of_stage(
    events: Events | None, stage: str, name: str, inputs: Mapping[str, Artifact]
) -> Iterator[Callable[[Artifact], None]]:
    """Tell of a stage, where somebody is to be told."""
    if events is None:
        yield lambda artifact: None
        return
    with events.of_stage(stage, name, inputs) as ended:
        yield ended


def check_place(where: str | None, workspace: Path) -> None:
    """Raise BadInput if a file for events holds something else: a recipe may be a stranger's, and its words are appended there."""
    if where is None or "://" in where:
        return
    place, first = workspace / where, {}
    if place.is_file() and not place.stat().st_size:
        return
    if place.is_file():
        with place.open("rb") as file, contextlib.suppress(ValueError, RecursionError):
            first = json.loads(file.readline(LONGEST_LINE))
    if place.exists() and not (isinstance(first, dict) and first.keys() >= EVENT):
        raise BadInput(f"watch.openlineage: {place} is no file of OpenLineage events; name another, or take it away")


def opened(where: str) -> Callable[[RunEvent], object]:
    """Open the way to a server, or to a file whose lines are events; the key for a server is in the environment."""
    from openlineage.client.serde import Serde
    from openlineage.client.transport.file import FileConfig, FileTransport

    if "://" not in where:
        Path(where).parent.mkdir(parents=True, exist_ok=True)
        return FileTransport(FileConfig(log_file_path=where, append=True)).emit
    parts, key = urlsplit(where), key_of(KEY)
    url = where if parts.path.strip("/") else parts._replace(path=ENDPOINT).geturl()

    def sent(event: RunEvent) -> None:
        # The client's own transport reads an answer whole, however much and however slowly it comes; of ours only the head is looked at.
        with post(url, Serde.to_json(event).encode(), longest_s=ANSWER_S, key=key) as answer:
            answer.raise_for_status()

    return sent


def _reason(error: Exception, where: str) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        status = error.response.status_code
        asks = f"; set {KEY} to a key of its" if status in (401, 403) else ""
        asks = "; no redirect is followed: name where it leads" if 300 <= status < 400 else asks
        return f"answers HTTP {status} {error.response.reason_phrase[:60]}".rstrip() + asks
    if "://" in where and isinstance(error, HTTP_FAULTS + MISLED):
        return no_answer(error, ANSWER_S)
    return f"takes no event: {' '.join(str(error).split())}"


def _facets(name: str, artifact: Artifact) -> dict[str, Any]:
    """Say of a dataset what kind of artifact it is, which one, and by its fingerprint which version."""
    from openlineage.client.facet_v2 import dataset_type_dataset, dataset_version_dataset, documentation_dataset

    is_model = artifact.stage in KINDS
    said = artifact.stage if name in ("", artifact.stage) else f"{artifact.stage} {name}"
    return {
        "version": dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=artifact.fingerprint),
        "documentation": documentation_dataset.DocumentationDatasetFacet(description=said),
        "datasetType": dataset_type_dataset.DatasetTypeDatasetFacet(
            datasetType="MODEL" if is_model else "FILE", subType=artifact.stage
        ),
    }


def _measured(artifact: Artifact) -> dict[str, Any]:
    """Give an artifact's bytes, and its rows or files, where it has such."""
    told = artifact.manifest()
    result = told["result"]
    rows = next((result[field] for field in ROWS if field in result), None)
    counted = {"size": told["size_bytes"], "rowCount": rows, "fileCount": result.get("num_files")}
    return {name: number for name, number in counted.items() if number is not None}


def _input(name: str, artifact: Artifact) -> InputDataset:
    from openlineage.client.event_v2 import InputDataset
    from openlineage.client.facet_v2 import input_statistics_input_dataset as statistics

    measured: dict[str, Any] = {"inputStatistics": statistics.InputStatisticsInputDatasetFacet(**_measured(artifact))}
    return InputDataset("file", str(artifact.folder), facets=_facets(name, artifact), inputFacets=measured)


def _output(name: str, artifact: Artifact) -> OutputDataset:
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import output_statistics_output_dataset as statistics

    measured: dict[str, Any] = {
        "outputStatistics": statistics.OutputStatisticsOutputDatasetFacet(**_measured(artifact))
    }
    return OutputDataset("file", str(artifact.folder), facets=_facets(name, artifact), outputFacets=measured)


def _fetched(artifact: Artifact) -> list[InputDataset]:
    """Name the addresses that a download came from, which its result has without what would let others in."""
    from openlineage.client.event_v2 import InputDataset

    urls = artifact.manifest()["result"].get("urls", "") if artifact.stage == "download" else ""
    found = [urlsplit(url) for url in urls.split() if "://" in url]
    return [InputDataset(f"{url.scheme}://{url.netloc}", url.path.lstrip("/") or "/") for url in found]
