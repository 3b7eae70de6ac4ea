"""A run: its row at the beginning, its end where it had one."""

from __future__ import annotations

import json
from pathlib import Path

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
