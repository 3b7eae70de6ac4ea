"""A run that finds all made starts no server and is soon over; one thing missing, and it goes the usual way.

Its name comes after test_command.py, whose first test is about the desk's first run.
"""

from __future__ import annotations

import resource
import subprocess
import time
from pathlib import Path

import pytest

from flows.full_pipeline import full_pipeline
from tasks.run import is_all_made
from tasks.running.progress import LOG
from tinyllava_core.errors import BadInput

NOWHERE = "http://127.0.0.1:9/api"


def test_looking_at_an_empty_workspace_leaves_nothing_there(tmp_path: Path) -> None:
    assert not is_all_made(lambda: full_pipeline.fn("toy", {}, str(tmp_path)))
    assert list(tmp_path.iterdir()) == []
    assert not LOG.disabled


def test_what_is_wrong_in_a_recipe_is_said_by_looking_too(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nowhere"):
        is_all_made(lambda: full_pipeline.fn("toy", {"start": "nowhere"}, str(tmp_path)))
    assert not LOG.disabled


@pytest.mark.slow
def test_a_run_that_finds_all_made_starts_no_server_and_is_remembered(first_run) -> None:
    desk, _ = first_run
    environment = desk.environment() | {"PREFECT_API_URL": NOWHERE}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    process = subprocess.Popen(desk.command(), env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    first = process.stdout.readline()
    first_s = time.monotonic() - began
    rest = process.stdout.read()
    assert process.wait() == 0
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert first.startswith("recipe    photographs")
    assert "all is made" in rest
    assert "server " not in rest
    assert rest.count(", cached") == len(
        desk.ask("SELECT * FROM stage WHERE run_id = (SELECT max_by(run_id, started_at) FROM run)")
    )
    assert desk.made_by_last_run() == []
    assert desk.ask("SELECT state FROM run JOIN run_end USING (run_id) ORDER BY started_at DESC LIMIT 1") == [
        ("Completed",)
    ]
    # 0.4 s and 3 s on two quiet cores: room for busy ones, none for a server, which costs 15 s more
    assert first_s < 10
    assert spent.ru_utime + spent.ru_stime - before.ru_utime - before.ru_stime < 10


@pytest.mark.slow
def test_one_artifact_that_is_missing_is_seen_by_looking(first_run) -> None:
    desk, _ = first_run
    given = (str(desk.recipe), {}, str(desk.workspace))
    assert is_all_made(lambda: full_pipeline.fn(*given))
    for stage in ("download", "mix", "sft", "evaluate", "report"):
        result = next((desk.workspace / "artifacts" / stage).glob("[!.]*")) / "result.json"
        others = list(result.parents[1].glob("[!.]*/result.json"))
        for other in others:
            other.rename(other.with_name("away.json"))
        try:
            assert not is_all_made(lambda: full_pipeline.fn(*given)), stage
        finally:
            for other in others:
                other.with_name("away.json").rename(other)
    assert is_all_made(lambda: full_pipeline.fn(*given))
