"""A run: its row at the beginning, its end where it had one."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import duckdb
import pytest
import yaml

from tasks.run import PACKAGES, begin
from tinyllava_core.errors import BadInput
from tinyllava_core.lineage.store import open_read_only
from tinyllava_core.recipe import load


def ask(workspace: Path, sql: str) -> list[tuple]:
    with open_read_only(workspace) as connection:
        return connection.execute(sql).fetchall()


def test_a_run_remembers_its_recipe_and_its_packages(tmp_path: Path) -> None:
    overrides = {"sft.lr": 0.001}
    with begin(load("toy", overrides), overrides, str(tmp_path)) as run:
        assert run.workspace == tmp_path
    ((name, recipe, asked, packages, seed),) = ask(
        tmp_path, "SELECT recipe, recipe_yaml, overrides_json, packages_json, seed FROM run"
    )
    assert (name, json.loads(asked), seed) == ("toy", overrides, 42)
    assert yaml.safe_load(recipe)["sft"]["lr"] == 0.001
    assert set(json.loads(packages)) == set(PACKAGES)
    assert ask(tmp_path, "SELECT run_id, state FROM run_end") == [(run.run_id, "Completed")]


@pytest.mark.parametrize(("error", "state"), [(BadInput("no"), "Failed"), (KeyboardInterrupt(), "Crashed")])
def test_a_run_that_ends_badly_says_so(tmp_path: Path, error: BaseException, state: str) -> None:
    with pytest.raises(type(error)), begin(load("toy"), None, str(tmp_path)):
        raise error
    assert ask(tmp_path, "SELECT state FROM run_end") == [(state,)]


def test_a_wrong_manifest_leaves_no_run_behind(tmp_path: Path) -> None:
    recipe = load("toy", {"evaluate.benchmarks": ["toy-chat"]})
    with pytest.raises(BadInput), begin(recipe, None, str(tmp_path / "workspace")):
        raise AssertionError("begun")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("cancelled", "state"), [(True, "Cancelled"), (False, "Crashed")])
def test_a_run_that_somebody_cancelled_in_prefect_is_told_from_one_that_was_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cancelled: bool, state: str
) -> None:
    from prefect.exceptions import TerminationSignal

    monkeypatch.setattr("tasks.run.flow_run", SimpleNamespace(id=str(uuid4())))
    monkeypatch.setattr("tasks.run.is_cancelled", lambda _: cancelled)
    with pytest.raises(TerminationSignal), begin(load("toy"), {}, str(tmp_path)):
        raise TerminationSignal(signal.SIGTERM)
    with open_read_only(tmp_path) as connection:
        assert connection.execute("SELECT state FROM run_state").fetchall() == [(state,)]


def test_a_run_is_seen_while_it_goes_on(tmp_path: Path) -> None:
    file = str(tmp_path / "lineage.duckdb")
    with begin(load("toy"), {}, str(tmp_path)) as run, duckdb.connect(file, read_only=True) as plain:
        assert plain.execute("SELECT run_id, state FROM run_state").fetchall() == [(run.run_id, "Running")]
