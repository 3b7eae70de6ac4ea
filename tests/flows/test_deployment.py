"""`make up`, then `prefect deployment run`: a real server, a real worker, a run through both."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from web_page import basic

from tasks.running.alive import home
from tasks.running.server import free_port, healthy
from tinyllava_core.process_tree import members

pytestmark = pytest.mark.slow
CLONE = Path(__file__).parents[2]


def call(environment: dict[str, str], *words: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", *words],
        env=environment | {"PYTHONPATH": str(CLONE)},
        cwd=environment.get("HERE", CLONE),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, f"{words}: {ran.stdout}\n{ran.stderr}"
    return ran.stdout


@pytest.fixture(scope="module")
def staying(first_run, prefect_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A server, a pool, a deployment and a worker, as `make up` leaves them; gives the environment to reach them."""
    desk, _ = first_run
    home(desk.workspace).mkdir(exist_ok=True)
    shutil.copy(prefect_database, home(desk.workspace) / "prefect.db")
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_AUTH_STRING"} | {
        "HERE": str(tmp_path_factory.mktemp("clone")),  # where `up` leaves prefect.toml: a person's own is not touched
        "PREFECT_API_URL": f"http://127.0.0.1:{free_port()}/api",
        "PREFECT_HOME": str(desk.workspace / ".prefect"),
        "COLUMNS": "240",
    }
    here = ("--workspace", str(desk.workspace))
    call(environment, "tasks.running.stay", "up", *here)
    yield environment
    call(environment, "tasks.running.stay", "down", *here)
    assert not healthy(environment["PREFECT_API_URL"])
    assert list(Path(environment["HERE"]).iterdir()) == []


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
    for key in ("scores", "download-my-photographs", "progress-answer"):
        assert key in shown


def test_a_run_cannot_say_which_command_or_environment_the_worker_starts(first_run, staying: dict[str, str]) -> None:
    desk, _ = first_run
    url, key = staying["PREFECT_API_URL"], (desk.workspace / ".prefect" / "auth").read_text()
    with httpx.Client(base_url=url, headers={"Authorization": basic(key)}) as client:
        deployment = client.get("/deployments/name/tinyllava/full-pipeline").json()["id"]
        for variables in ({"command": "/bin/sh -c id"}, {"env": {"PYTHONSTARTUP": "evil.py"}}, {"working_dir": "/"}):
            answer = client.post(f"/deployments/{deployment}/create_flow_run", json={"job_variables": variables})
            assert answer.status_code in (409, 422), answer.text
        pool = client.get("/work_pools/local").json()["base_job_template"]
    assert "command" not in pool["job_configuration"]
    assert "env" not in pool["job_configuration"]


def test_up_twice_is_up_once(first_run, staying: dict[str, str]) -> None:
    desk, _ = first_run
    said = call(staying, "tasks.running.stay", "up", "--workspace", str(desk.workspace))
    assert "server    already at" in said
    assert "worker    already at work" in said


def test_down_without_up_is_no_fault(tmp_path: Path) -> None:
    assert call(dict(os.environ), "tasks.running.stay", "down", "--workspace", str(tmp_path)) == ""
    assert members("none") == []
