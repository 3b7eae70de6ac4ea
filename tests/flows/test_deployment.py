"""`make up`, then `prefect deployment run`: a real server, a real worker, a run through both."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.running.server import free_port, healthy
from tinyllava_core.process_tree import members

pytestmark = pytest.mark.slow
CLONE = Path(__file__).parents[2]


def call(environment: dict[str, str], *words: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", *words], env=environment, cwd=CLONE, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, f"{words}: {ran.stdout}\n{ran.stderr}"
    return ran.stdout


@pytest.fixture(scope="module")
def staying(first_run) -> Iterator[dict[str, str]]:
    """A server, a pool, a deployment and a worker, as `make up` leaves them; gives the environment to reach them."""
    desk, _ = first_run
    environment = os.environ | {
        "PREFECT_API_URL": f"http://127.0.0.1:{free_port()}/api",
        "PREFECT_HOME": str(desk.workspace / ".prefect"),
        "COLUMNS": "240",
    }
    here = ("--workspace", str(desk.workspace))
    call(environment, "tasks.running.server", "up", *here)
    yield environment
    call(environment, "tasks.running.server", "down", *here)
    assert not healthy(environment["PREFECT_API_URL"])


def test_a_deployment_runs_through_server_and_worker(first_run, staying: dict[str, str]) -> None:
    desk, _ = first_run
    parameters = {
        "recipe": str(desk.recipe),
        "overrides": '{"evaluate.precision": "bf16", "evaluate.blind": false}',  # so that a job is started, not only looked for
        "workspace": str(desk.workspace),
    }
    given = [word for key, value in parameters.items() for word in ("--param", f"{key}={value}")]
    said = call(staying, "prefect", "deployment", "run", "tinyllava/full-pipeline", *given, "--watch")
    assert "Completed" in said
    assert desk.made_by_last_run() == ["evaluate my-questions", "report"]

    shown = call(staying, "prefect", "artifact", "ls")
    for key in ("scores", "download-my-photographs", "progress-evaluate-my-questions"):
        assert key in shown


def test_up_twice_is_up_once(first_run, staying: dict[str, str]) -> None:
    desk, _ = first_run
    said = call(staying, "tasks.running.server", "up", "--workspace", str(desk.workspace))
    assert "server    already at" in said
    assert "worker    already at work" in said


def test_down_without_up_is_no_fault(tmp_path: Path) -> None:
    assert call(dict(os.environ), "tasks.running.server", "down", "--workspace", str(tmp_path)) == ""
    assert members("none") == []
