"""Prefect's server on this machine: one for a single command, or one that stays (`python -m tasks.running.server up | down`).

Prefect would start a temporary server by itself, but with site-packages first on its path, where the `dataclasses`
back-port that img2dataset pulls in shadows the standard module and kills it. This file does not know what is run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from filelock import FileLock

from tasks.running.alive import bury, home
from tinyllava_core import process_tree as tree
from tinyllava_core.artifact import write_aside
from tinyllava_core.data.web.opener import proxy_of

CLONE = Path(__file__).parents[2]
STAYING_URL = "http://127.0.0.1:4200/api"  # as in pyproject.toml, [tool.prefect.api]
START_TIMEOUT_S = 120.0  # a new database is laid out in 10 to 15 s, and much slower on a busy machine
POOL = "local"
SETTINGS = {  # of a server that we start: nothing leaves this machine, and a restart leaks no concurrency slot
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    "PREFECT__SERVER_FINAL": "1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that answers."""

    api_url: str

    @property
    def ui_url(self) -> str:
        """Where a person looks at runs."""
        return f"{self.api_url.removesuffix('/api')}/v2"


@contextlib.contextmanager
def api(workspace: Path, say: Callable[[str], None] = print) -> Iterator[Server]:
    """Give a server for the length of a block: the one that PREFECT_API_URL (or `up`) offers, or one of our own."""
    server, own = _offered(say), None
    try:
        if server is None:
            server, own = _start(workspace, free_port())
        with _using(server):
            bury(workspace)
            try:
                yield server
            finally:
                _drain()
    finally:
        if own is not None:
            own.end(grace_s=10)


def healthy(api_url: str, timeout_s: float = 2.0) -> bool:
    """Tell whether a server answers at this URL."""
    try:
        proxy = proxy_of(api_url)
        proxies = urllib.request.ProxyHandler({urlsplit(api_url).scheme: proxy} if proxy else {})
        with urllib.request.build_opener(proxies).open(f"{api_url}/health", timeout=timeout_s) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError, httpx.InvalidURL):
        return False


def free_port() -> int:
    """Find a port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def up(workspace: Path) -> None:
    """Start a server and a worker that stay, and deploy the flow. What runs already is left as it is."""
    server = Server(api_url=os.environ.get("PREFECT_API_URL", STAYING_URL))
    marks = _read_marks(workspace)
    if healthy(server.api_url):
        print(f"server    already at {server.ui_url}")
    else:
        _, planted = _start(workspace, urlsplit(server.api_url).port or 4200, guarded=False)
        _write_marks(workspace, marks := {**marks, "server": planted.mark})
        print(f"server    {server.ui_url}")
    here = {**SETTINGS, "PREFECT_API_URL": server.api_url, "PREFECT_HOME": str(home(workspace))}
    _prefect(here, "work-pool", "create", POOL, "--type", "process", "--overwrite")
    _prefect(here, "--no-prompt", "deploy", "--all")
    print("deployed  tinyllava/full-pipeline")
    if tree.members(marks.get("worker", "none")):
        print(f"worker    already at work on pool {POOL!r}")
    else:
        log = home(workspace) / "worker.log"
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"]
        with log.open("ab") as output:
            quick = here | {"PREFECT_WORKER_QUERY_SECONDS": "2"}  # Prefect's default of 10 makes a person wait
            planted = tree.plant(command, output, environment=quick, folder=CLONE, guarded=False)
        _write_marks(workspace, marks | {"worker": planted.mark})
        print(f"worker    on pool {POOL!r}, log: {log}")
    with _using(server):
        for name in bury(workspace):
            print(f"crashed   {name}: its process had been killed")
    print("next      prefect deployment run tinyllava/full-pipeline --watch")


def down(workspace: Path) -> None:
    """End what `up` started: the worker, with the runs it has at work, and the server."""
    marks = _read_marks(workspace)
    for what in ("worker", "server"):
        if mark := marks.pop(what, None):
            tree.end(mark)
            print(f"ended     {what}")
    _write_marks(workspace, marks)


def _offered(say: Callable[[str], None]) -> Server | None:
    """Give the server that somebody offers, if it answers; say why it takes one of our own, if not."""
    url = os.environ.get("PREFECT_API_URL")
    if healthy(url or STAYING_URL):
        return Server(api_url=url or STAYING_URL)
    if url:
        say(f"note: PREFECT_API_URL = {url} does not answer; starting a server for this run")
    return None


def _start(workspace: Path, port: int, *, guarded: bool = True) -> tuple[Server, tree.Tree]:
    """Start a server with the workspace's database and wait until it answers. Raises RuntimeError if it does not."""
    folder, server = home(workspace), Server(api_url=f"http://127.0.0.1:{port}/api")
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "server.log"
    here = {"PREFECT_HOME": str(folder), "PREFECT_API_URL": server.api_url, "PREFECT_SERVER_API_PORT": str(port)}
    command = [sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--log-level", "warning", "--lifespan", "on"]
    with (
        FileLock(folder / "starting.lock"),
        log.open("ab") as output,
    ):  # two servers must not lay out one database at once
        # Its folder comes first on its path: one in which no Python lies.
        planted = tree.plant(command, output, environment=SETTINGS | here, folder=folder, guarded=guarded, grace_s=10)
        try:
            import prefect  # noqa: F401  takes half as long as the server: side by side

            deadline = time.monotonic() + START_TIMEOUT_S
            while not healthy(server.api_url):
                if planted.process.poll() is not None:
                    raise RuntimeError(f"prefect's server ended with exit code {planted.process.returncode}; see {log}")
                if time.monotonic() > deadline:
                    raise RuntimeError(f"prefect's server did not answer within {START_TIMEOUT_S:.0f} s; see {log}")
                time.sleep(0.05)
        except BaseException:
            planted.end(grace_s=5)
            raise
    return server, planted


@contextlib.contextmanager
def _using(server: Server) -> Iterator[None]:
    """Let Prefect talk to this server for the length of a block."""
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, PREFECT_UI_URL, temporary_settings

    # Without a heartbeat, whose thread would hold up the end of a flow by a second: alive.py knows who is alive.
    settings = {PREFECT_API_URL: server.api_url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
    if urlsplit(server.api_url).hostname in ("127.0.0.1", "localhost"):  # others know their pages' address themselves
        settings[PREFECT_UI_URL] = server.ui_url
    with temporary_settings(settings):
        yield


def _drain() -> None:
    """Hand over the logs and events that Prefect still holds, while the server is there to take them."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    APILogWorker.drain_all(timeout=10)
    EventsWorker.drain_all(timeout=10)


def _prefect(environment: dict[str, str], *arguments: str) -> None:
    """Run one of Prefect's own commands in the clone. Raises RuntimeError with what it said if it fails."""
    ran = subprocess.run(
        [sys.executable, "-m", "prefect", *arguments],
        cwd=CLONE,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if ran.returncode != 0:
        raise RuntimeError(f"`prefect {' '.join(arguments)}` ended with exit code {ran.returncode}:\n{ran.stdout}")


def _read_marks(workspace: Path) -> dict[str, str]:
    file = home(workspace) / "up.json"
    return dict(json.loads(file.read_text())) if file.is_file() else {}


def _write_marks(workspace: Path, marks: dict[str, str]) -> None:
    home(workspace).mkdir(parents=True, exist_ok=True)
    write_aside(home(workspace) / "up.json", json.dumps(marks))


def main(arguments: list[str]) -> int:
    """Run `up` or `down`."""
    parser = argparse.ArgumentParser(prog="python -m tasks.running.server", description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("up", "down"))
    parser.add_argument("--workspace", type=Path, default=Path("workspace"))
    given = parser.parse_args(arguments)
    try:
        {"up": up, "down": down}[given.what](given.workspace)
    except RuntimeError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
