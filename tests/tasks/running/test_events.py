"""Others are told of a run in OpenLineage's words, and whatever they do with it, the run goes on."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from loopback import Quiet, answering

from tasks.record import record
from tasks.run import begin
from tasks.running import events
from tinyllava_core.artifact import Artifact, make_once
from tinyllava_core.errors import BadInput
from tinyllava_core.recipe import load
from tinyllava_core.results import DownloadResult, MixResult, ShardResult

FETCHED = DownloadResult(
    source="cats", kind="source", licence=None, urls="https://host.org/a/cats.zip my/own folder s3://bucket/key.json",
    annotations=None, annotations_sha256=None, image_root="images", num_files=3, num_expected=None, size_bytes=4,
    num_requested=0, num_failed=0,
)  # fmt: skip
MIXED = MixResult(
    num_sources=1, num_records=8, num_distinct_records=8, num_images=8, num_text_only=0, num_left_out=0, num_duplicates=0,
    num_contaminated=0, seed=42,
)  # fmt: skip
SHARDED = ShardResult(num_shards=3, num_records=8, size_bytes=2_500, sha256="0" * 64)


class Marquez(Quiet):
    """Takes events as OpenLineage's reference server does, or answers with another status, or not at all."""

    took: ClassVar[list[dict[str, Any]]]
    asked: ClassVar[list[tuple[str, str | None]]]
    status: ClassVar[int] = 201
    until: ClassVar[threading.Event | None] = None

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append((self.path, self.headers["Authorization"]))
        if self.until is not None:
            self.until.wait(60)
        if self.status == 201:
            self.took.append(json.loads(body))
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()


class Endless(Marquez):
    """Takes an event, and answers without end."""

    sent: ClassVar[list[int]]

    def do_POST(self) -> None:
        self.took.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(201)
        self.end_headers()
        with contextlib.suppress(OSError):
            while sum(self.sent) < 256 << 20:
                self.sent.append(self.wfile.write(bytes(1 << 20)))


class Drip(Marquez):
    """Takes an event, and is never done with the head of its answer."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.wfile.write(b"HTTP/1.1 201 Created\r\nX-Slow: ")
        with contextlib.suppress(OSError):
            while self.until is not None and not self.until.wait(0.02):
                self.wfile.write(b"1")


class Elsewhere(Marquez):
    """Says that what it is told belongs somewhere else."""

    to: ClassVar[str]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(307)
        self.send_header("Location", self.to)
        self.send_header("Content-Length", "0")
        self.end_headers()


class Told:
    """A run that keeps no books: its stages, and who is told of them."""

    def __init__(self, workspace: Path, told: events.Events | None) -> None:
        self.workspace, self.told = workspace, told

    def stage(self, stage: str, name: str, result: Any, **inputs: Artifact) -> Artifact:
        with events.of_stage(self.told, stage, name, inputs) as ended:
            artifact = make_once(self.workspace, stage, 1, {}, inputs, lambda folder: result())
            ended(artifact)
        return artifact


def mixed(run: Told) -> Artifact:
    return run.stage("mix", "sft", lambda: MIXED)


def go(workspace: Path, where: str | None, body: Callable[[Told], object] = mixed) -> None:
    with events.of_run(where, workspace, "toy-1", "toy") as told:
        body(Told(workspace, told))


@pytest.fixture
def lines(tmp_path: Path) -> Callable[[], Iterator[dict[str, Any]]]:
    return lambda: map(json.loads, (tmp_path / "told" / "events.jsonl").open())


def test_a_server_is_told_of_a_run_and_of_each_stage_with_what_it_read_and_wrote(tmp_path: Path) -> None:
    def body(run: Told) -> None:
        run.stage("download", "cats", lambda: FETCHED)
        artifacts["mix"] = mixed(run)
        artifacts["shard"] = run.stage("shard", "sft", lambda: SHARDED, mix=artifacts["mix"])
        mixed(run)

    artifacts: dict[str, Artifact] = {}
    took: list[dict[str, Any]] = []
    with answering(Marquez, took=took, asked=[]) as address:
        go(tmp_path, address, body)
    stages = ["toy.download.cats", "toy.mix.sft", "toy.shard.sft", "toy.mix.sft"]
    both = [(name, state) for name in stages for state in ("START", "COMPLETE")]
    told = [(event["job"]["name"], event["eventType"]) for event in took]
    assert told == [("toy", "START"), *both, ("toy", "COMPLETE")]
    ids = [event["run"]["runId"] for event in took]
    assert ids[0] == ids[-1]
    assert len(set(ids)) == 5  # the run's, and one for each time that a stage was come by
    parents = {event["run"]["facets"]["parent"]["run"]["runId"] for event in took[1:-1]}
    assert parents == {ids[0]}

    (read,), (wrote,) = took[6]["inputs"], took[6]["outputs"]  # the shards' COMPLETE
    assert (read["namespace"], read["name"]) == ("file", str(artifacts["mix"].folder))
    assert read["facets"]["version"]["datasetVersion"] == artifacts["mix"].fingerprint
    assert read["inputFacets"]["inputStatistics"]["rowCount"] == 8
    assert wrote["facets"]["version"]["datasetVersion"] == artifacts["shard"].fingerprint
    assert wrote["facets"]["documentation"]["description"] == "shard sft"
    size = artifacts["shard"].manifest()["size_bytes"]
    assert (wrote["outputFacets"]["outputStatistics"]["size"], took[5]["outputs"]) == (size, [])

    addresses = [(name["namespace"], name["name"]) for name in took[2]["inputs"]]
    assert addresses == [("https://host.org", "a/cats.zip"), ("s3://bucket", "key.json")]
    tags = [[tag["key"] for tag in event["run"]["facets"]["tags"]["tags"]] for event in (took[4], took[8])]
    assert tags == [["run"], ["run", "cached"]]


def test_a_stage_that_fails_and_its_run_say_why_and_one_that_somebody_ends_is_aborted(tmp_path: Path, lines) -> None:
    def fails(run: Told) -> None:
        def make() -> MixResult:
            raise ValueError("no such source")

        run.stage("mix", "sft", make)

    def ended(run: Told) -> None:
        raise KeyboardInterrupt

    with pytest.raises(ValueError, match="no such source"):
        go(tmp_path, "told/events.jsonl", fails)  # a relative path is the workspace's
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, str(tmp_path / "told" / "events.jsonl"), ended)
    found = [(event["eventType"], event["run"]["facets"].get("errorMessage", {}).get("message")) for event in lines()]
    why = "ValueError: no such source"
    assert found == [
        ("START", None), ("START", None), ("FAIL", why), ("FAIL", why), ("START", None), ("ABORT", None)
    ]  # fmt: skip


def test_a_server_that_refuses_is_said_once_with_what_to_do_and_no_key_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "s3cret-key")
    asked: list[tuple[str, str | None]] = []
    with answering(Marquez, took=[], asked=asked, status=401) as address:
        go(tmp_path, f"{address}/of/my/own?team=a")
    assert asked == [("/of/my/own?team=a", "Bearer s3cret-key")] * 4
    warnings = [entry.getMessage() for entry in caplog.records if entry.levelname == "WARNING"]
    said = f"openlineage {address}/of/my/own?team=a"
    assert warnings == [
        f"{said} answers HTTP 401 Unauthorized; set OPENLINEAGE_API_KEY to a key of its; the run goes on without",
        f"{said} took 0 of this run's 4 events",
    ]
    assert "s3cret" not in caplog.text


def test_a_server_that_is_down_ends_no_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with answering(Marquez, took=[], asked=[]) as address:
        pass
    go(tmp_path, address)
    assert f"openlineage {address} cannot be reached; the run goes on without" in caplog.text


def test_a_server_that_hangs_holds_no_stage_up_and_a_run_only_a_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(events, "END_S", 0.2)
    until = threading.Event()
    asked: list[tuple[str, str | None]] = []
    with answering(Marquez, took=[], asked=asked, until=until) as address:
        go(tmp_path, address)
        assert len(asked) <= 1  # the run is over, and the first event has no answer yet
        until.set()
    assert "took 0 of this run's 4 events" in caplog.text


def test_nobody_is_told_unless_a_recipe_says_so_and_being_told_changes_no_artifact(tmp_path: Path, lines) -> None:
    found = []
    for where in (None, "told/events.jsonl"):
        assert not (tmp_path / "told").exists()
        with begin(load("toy", {"watch.openlineage": where}), None, str(tmp_path)) as run:
            found.append(record(run, "mix", "sft", 1, {"seed": 42}, {}, lambda folder: MIXED))
    assert [event["job"]["name"] for event in lines()] == ["toy", "toy.mix.sft", "toy.mix.sft", "toy"]
    assert (found[1].made, found[1].fingerprint) == (False, found[0].fingerprint)


@pytest.mark.parametrize("where", ["https://me:s3cret@host", "https://host/?api_key=s3cret"])
def test_a_key_in_the_address_is_refused_and_not_shown(where: str) -> None:
    with pytest.raises(BadInput, match="put that into OPENLINEAGE_API_KEY") as refused:
        load("toy", {"watch.openlineage": where})
    assert "s3cret" not in str(refused.value)


STRANGE = [
    *("~/.bashrc", "~/events.jsonl", "/etc/cron.d/x", "/tmp/events.jsonl", "../../x.jsonl", "a/../../x.jsonl"),
    *(".prefect/auth.json", "a/.b/events.jsonl", "artifacts/mix/ab/records.json", "Lineage/x.jsonl", "studies/x.json"),
    *("events", "notes.txt", ".jsonl", "two\nlines.jsonl", "file:///etc/events.jsonl"),
]


@pytest.mark.parametrize("where", ["ftp://host/events", "http:///events", "https://", "a/folder/", "", *STRANGE])
def test_what_is_neither_a_server_nor_a_file_of_the_workspace_is_refused(where: str) -> None:
    with pytest.raises(
        BadInput, match=r"watch\.openlineage = .*expected the http\(s\) address of a server, or the path"
    ):
        load("toy", {"watch.openlineage": where})


def test_a_recipes_words_are_appended_to_events_alone(tmp_path: Path, lines) -> None:
    events.check_place("told/events.jsonl", tmp_path)  # nothing is there yet
    go(tmp_path, "told/events.jsonl")
    go(tmp_path, "told/events.jsonl")
    events.check_place("told/events.jsonl", tmp_path)
    assert len([*lines()]) == 8
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "folder.json").mkdir()
    for name, content in {"a": b'{"mine": 1}\n', "b": b"[" * 100_000, "c": b"\xff\xfe\n", "d": b"[]\n"}.items():
        (tmp_path / f"{name}.json").write_bytes(content)
    for name in ("pipe.jsonl", "folder.json", "a.json", "b.json", "c.json", "d.json"):
        with pytest.raises(BadInput, match=f"{name} is no file of OpenLineage events; name another, or take it away"):
            events.check_place(name, tmp_path)
    (tmp_path / "run").mkdir()
    (mine := tmp_path / "run" / "mine.jsonl").write_text("my notes\n")
    run = begin(load("toy", {"watch.openlineage": "mine.jsonl"}), None, str(tmp_path / "run"))
    with pytest.raises(BadInput, match=r"watch\.openlineage: .*mine\.jsonl is no file of OpenLineage events"), run:
        raise AssertionError
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["mine.jsonl"]
    assert mine.read_text() == "my notes\n"


def test_of_an_answer_without_end_only_the_head_is_read(tmp_path: Path) -> None:
    took: list[dict[str, Any]] = []
    sent: list[int] = []
    with answering(Endless, took=took, sent=sent) as address:
        go(tmp_path, address)
    assert len(took) == 4
    assert sum(sent) < 128 << 20, "what four connections hold, and no more"


def test_an_answer_that_drips_has_one_time_for_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(events, "ANSWER_S", 0.2)
    until = threading.Event()
    with answering(Drip, until=until) as address:
        go(tmp_path, address)
        until.set()
    assert f"openlineage {address} does not answer within 0.2 s; the run goes on without" in caplog.text


def test_events_and_key_follow_no_redirect(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    asked: list[tuple[str, str | None]] = []
    with answering(Marquez, took=[], asked=asked) as other, answering(Elsewhere, to=other) as address:
        go(tmp_path, address)
    assert asked == []
    assert "answers HTTP 307 Temporary Redirect; no redirect is followed: name where it leads;" in caplog.text


def test_a_key_that_no_header_carries_is_told_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "s3cret\nX-Evil: 1")
    with answering(Marquez, took=[], asked=[]) as address:
        go(tmp_path, address)
    assert "OPENLINEAGE_API_KEY: holds a letter that is no ASCII, or a line end" in caplog.text
    assert "s3cret" not in caplog.text
