"""A server and a worker that stay, with the flow deployed: `make up`, `tinyllava up`, `python -m tasks.running.stay up | down`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from tasks.running.alive import bury, home
from tasks.running.alone import NOWHERE, environment, stand_alone
from tasks.running.key import VARIABLE, is_ours, key_file, key_of, lets_in, write_private
from tasks.running.server import CLONE, SETTINGS, STAYING_URL, Server, healthy, marks, start, using
from tinyllava_core import process_tree as tree
from tinyllava_core.artifact import write_aside
from tinyllava_core.data.web.door import is_taken
from tinyllava_core.errors import BadInput, Parser

POOL = "local"
DEPLOYED = CLONE / "flows" / "prefect.yaml"
OURS = "# Made by `make up`, taken away by `make down`: how Prefect's commands reach the server."
# What a run may ask of the worker: nothing. Prefect's own template would take a command and an environment from whoever
# makes a run, and start that.
POOL_TEMPLATE: dict[str, Any] = {
    "variables": {"type": "object", "properties": {}, "additionalProperties": False},
    "job_configuration": {"stream_output": True},
}
# A tasks.py in the working directory is a person's; and installed, the package lies beside the back-port `dataclasses`.
SAFE = {"PYTHONPATH": tree.without_back_port(str(CLONE)), "PYTHONSAFEPATH": "1"}
GPU_QUEUE, GPU_RUNS = "gpu", 1  # each run takes the GPUs of this machine that its recipe asks for


def up(workspace: Path) -> None:
    """Start a server and a worker that stay, and deploy the flow. What runs already is left as it is."""
    server = Server(api_url=os.environ.get("PREFECT_API_URL", STAYING_URL), key=key_of(workspace))
    there = marks(workspace)
    if healthy(server.api_url):
        _check(server)
        print(f"server    already at {server.ui_url}")
    elif is_taken("127.0.0.1", urlsplit(server.api_url).port or 4200):
        raise RuntimeError(
            f"something that is no Prefect server listens at {server.api_url}; end it, or set "
            "PREFECT_API_URL=http://127.0.0.1:PORT/api with a free port"
        )
    else:
        _, planted = start(workspace, urlsplit(server.api_url).port or 4200, guarded=False)
        _write_marks(workspace, there := {**there, "server": planted.mark})
        print(f"server    {server.ui_url}, its pages ask for the key in {key_file(workspace)}")
    _tell_commands(server)
    stand_alone()
    here = {
        **SETTINGS,
        **environment(),
        "PREFECT_API_URL": server.api_url,
        "PREFECT_UI_URL": server.ui_url,
        VARIABLE: str(server.key),
    }
    here |= {"PREFECT_HOME": str(home(workspace)), "TINYLLAVA_WORKSPACE": str(workspace.resolve())}
    template = home(workspace) / "pool.json"
    job = {
        **POOL_TEMPLATE["job_configuration"],
        "working_dir": str(Path.cwd()),
    }  # relative paths are what they are here
    write_aside(template, json.dumps({**POOL_TEMPLATE, "job_configuration": job}))
    _prefect(
        here, "work-pool", "create", POOL, "--type", "process", "--base-job-template", str(template), "--overwrite"
    )
    with using(server):
        _limit_gpu_runs()
    _prefect(here, "--no-prompt", "deploy", "--all", "--prefect-file", str(DEPLOYED))
    print(f"deployed  {', '.join(f'tinyllava/{name}' for name in deployments())}")
    if tree.members(there.get("worker", "none")):
        print(f"worker    already at work on pool {POOL!r}")
    else:
        log = home(workspace) / "worker.log"
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"]
        with log.open("ab") as output:
            quick = here | {"PREFECT_WORKER_QUERY_SECONDS": "2"}  # Prefect's default of 10 makes a person wait
            planted = tree.plant(command, output, environment=quick | SAFE, folder=NOWHERE, guarded=False)
        _write_marks(workspace, there | {"worker": planted.mark})
        print(f"worker    on pool {POOL!r}, log: {log}")
    with using(server):
        for name in bury(workspace):
            print(f"crashed   {name}: its process had been killed")
    print("next      prefect deployment run tinyllava/full-pipeline --watch")


def deployments() -> list[str]:
    """Name what flows/prefect.yaml deploys."""
    return [one["name"] for one in yaml.safe_load(DEPLOYED.read_text())["deployments"]]


def _limit_gpu_runs() -> None:
    """Make the queue of the runs that train or answer, so many at once. One that is there keeps its limit: a person's."""
    from prefect import get_client
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
        try:
            client.read_work_queue_by_name(GPU_QUEUE, work_pool_name=POOL)
        except ObjectNotFound:
            client.create_work_queue(GPU_QUEUE, work_pool_name=POOL, concurrency_limit=GPU_RUNS)


def _check(server: Server) -> None:
    """Raise RuntimeError unless a server that runs already is safe to put a worker beside."""
    if not is_ours(server.api_url):
        raise RuntimeError(
            f"another user's server listens at {server.api_url}, and what it says a worker of yours would do; "
            "set PREFECT_API_URL=http://127.0.0.1:PORT/api with a free port"
        )
    if lets_in(server.api_url, None):
        raise RuntimeError(
            f"the server at {server.api_url} asks nobody for a key: a worker beside it would start what any page or user of "
            "this machine wants. End it (`prefect server stop`, or `make down`), then `make up`"
        )
    if not lets_in(server.api_url, server.key):
        raise RuntimeError(
            f"the server at {server.api_url} has the key of another workspace; end it (`make down` there), or set "
            "PREFECT_API_URL=http://127.0.0.1:PORT/api with a free port"
        )


def _tell_commands(server: Server) -> None:
    """Leave `prefect.toml` here, where Prefect's commands find address and key. A person's own is left as it is."""
    file = Path("prefect.toml")
    if not file.exists() or file.read_text().startswith(OURS):
        file.unlink(missing_ok=True)
        write_private(
            file, f'{OURS}\nui_url = "{server.ui_url}"\n[api]\nurl = "{server.api_url}"\nauth_string = "{server.key}"\n'
        )
    else:
        print(f"note: {file.resolve()} is your own; Prefect's commands need {VARIABLE}, the key, in their environment")


def down(workspace: Path) -> None:
    """End what `up` started: the worker, with the runs it has at work, and the server."""
    there = marks(workspace)
    for what in ("worker", "server"):
        if mark := there.pop(what, None):
            tree.end(mark)
            print(f"ended     {what}")
    _write_marks(workspace, there)
    file = Path("prefect.toml")
    if file.is_file() and file.read_text().startswith(OURS):
        file.unlink()


def _prefect(told: dict[str, str], *arguments: str) -> None:
    """Run one of Prefect's own commands, in the workspace's folder of Prefect. Raises RuntimeError with what it said if it fails."""
    ran = subprocess.run(
        [sys.executable, "-m", "prefect", *arguments],
        cwd=NOWHERE,
        env=os.environ | told | SAFE,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if ran.returncode != 0:
        raise RuntimeError(f"`prefect {' '.join(arguments)}` ended with exit code {ran.returncode}:\n{ran.stdout}")


def _write_marks(workspace: Path, marks: dict[str, str]) -> None:
    home(workspace).mkdir(parents=True, exist_ok=True)
    write_aside(home(workspace) / "up.json", json.dumps(marks))


def main(arguments: list[str]) -> int:
    """Run `up` or `down`."""
    parser = Parser(prog="python -m tasks.running.stay", description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("up", "down"))
    parser.add_argument("--workspace", type=Path, default=Path("workspace"))
    try:
        given = parser.parse_args(arguments)
        {"up": up, "down": down}[given.what](given.workspace)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
