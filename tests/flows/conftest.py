"""A desk with a person's own data, and a run on it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from desk import lay_out

from tinyllava_core.lineage.store import open_read_only

CLONE = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Where a person works: data, recipe, workspace, and the server that the runs report to."""

    folder: Path
    server: str

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    @property
    def recipe(self) -> Path:
        return self.folder / "photographs.yaml"

    def command(self, *settings: str) -> list[str]:
        command = [sys.executable, "-m", "flows", str(self.recipe), "--workspace", str(self.workspace)]
        return [*command, *(word for setting in settings for word in ("--set", setting))]

    def environment(self) -> dict[str, str]:
        return os.environ | {"PREFECT_API_URL": self.server, "COLUMNS": "120", "OMP_NUM_THREADS": "1"}

    def run(self, *settings: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run the pipeline, as a person would, to its end."""
        ran = subprocess.run(
            self.command(*settings), env=self.environment(), cwd=CLONE, capture_output=True, text=True, check=False
        )
        assert ran.returncode == code, f"{ran.stdout}\n{ran.stderr}"
        return ran

    def ask(self, sql: str) -> list[tuple]:
        with open_read_only(self.workspace) as connection:
            return connection.execute(sql).fetchall()

    def made_by_last_run(self) -> list[str]:
        """Name the stages that the last run had to make, in its order."""
        last = "(SELECT run_id FROM run ORDER BY started_at DESC LIMIT 1)"
        rows = self.ask(f"SELECT stage, name FROM stage WHERE made AND run_id = {last} ORDER BY started_at")
        return [stage if name in ("", stage) else f"{stage} {name}" for stage, name in rows]


@pytest.fixture(scope="session")
def desk(prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A desk with everything on it, and nothing run yet."""
    folder = tmp_path_factory.mktemp("desk")
    lay_out(folder)
    return Desk(folder=folder, server=prefect_server)


@pytest.fixture(scope="session")
def first_run(desk: Desk) -> tuple[Desk, str]:
    """The desk after one run, and what that run printed."""
    return desk, desk.run().stdout
