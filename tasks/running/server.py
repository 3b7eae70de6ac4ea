"""Prefect's server on this machine: one for a single command, or the one that `up` left (stay.py).

Whoever wants something of it needs the workspace's key (key.py). Prefect would start a temporary server by itself, but with site-packages first on its path, where the `dataclasses`
back-port that img2dataset pulls in shadows the standard module and kills it. This file does not know what is run.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock

from tasks.running import alone
from tasks.running.alive import bury, end_orphans, home, owned
from tasks.running.key import VARIABLE, fitting, is_ours, key_file, key_of, status
from tasks.running.watched import watched
from tinyllava_core import process_tree as tree
from tinyllava_core.errors import BadInput
from tinyllava_core.room import disk_full, has_none, is_full

CLONE = Path(__file__).parents[2]
STAYING_URL = "http://127.0.0.1:4200/api"  # as in pyproject.toml, [tool.prefect.api]
START_TIMEOUT_S = (
    300.0  # a new database is laid out in 10 to 15 s, and took over 120 s on two cores with 28 programs at work
)
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
    key: str | None = field(default=None, repr=False, compare=False)  # None: it asks for none

    @property
    def ui_url(self) -> str:
        """Where a person looks at runs."""
        return f"{self.api_url.removesuffix('/api')}/v2"


@contextlib.contextmanager
def api(workspace: Path, say: Callable[[str], None] = print) -> Iterator[Server]:
    """Let Prefect talk to a server for the length of a block: to the one that is offered, or to one of our own."""
    with _disk_asked(workspace), contextlib.ExitStack() as until_the_end:
        end_orphans(workspace)
        server = offered(workspace, say)
        if server is None:
            say("server    Prefect's own starts, for this run's pages")
            server, own = start(workspace, free_port())
            until_the_end.callback(own.end, grace_s=10)
            until_the_end.enter_context(owned(workspace, own.mark))
            mark: str | None = own.mark
        else:
            mark = marks(workspace).get("server") if server.key == _key_there(workspace) else None
        until_the_end.enter_context(using(server))
        bury(workspace)
        url = server.api_url
        again = Again(workspace, url, mark) if mark else None
        until_the_end.enter_context(watched(lambda: healthy(url), server.ui_url.removesuffix("/v2"), say, again))
        try:
            yield server
        finally:
            _drain()


@contextlib.contextmanager
def _disk_asked(workspace: Path) -> Iterator[None]:
    """Turn what a full disk does to a server, which says "500" or ends, into DiskFull: the disk itself is asked."""
    try:
        yield
    except Exception as error:
        if isinstance(error, BadInput) or not (is_full(error) or has_none(home(workspace))):
            raise
        raise disk_full("Prefect's database and the run", home(workspace)) from error


def healthy(api_url: str, timeout_s: float = 2.0) -> bool:
    """Tell whether a server answers at this URL."""
    return status(f"{api_url}/health", timeout_s=timeout_s) == 200


def marks(workspace: Path) -> dict[str, str]:
    """Give the marks of what `up` left running in a workspace: server, worker."""
    file = home(workspace) / "up.json"
    return dict(json.loads(file.read_text())) if file.is_file() else {}


def _key_there(workspace: Path) -> str | None:
    return key_file(workspace).read_text() if key_file(workspace).is_file() else None


def free_port() -> int:
    """Find a port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def offered(workspace: Path, say: Callable[[str], None] = print) -> Server | None:
    """Give the server that PREFECT_API_URL (or `up`) offers, if it lets us in; say why it takes one of our own, if not."""
    url = os.environ.get("PREFECT_API_URL")
    # At an address that nobody gave us anybody may listen: another user's server is none of ours.
    if healthy(url or STAYING_URL) and (url or is_ours(STAYING_URL)):
        let_in, key = fitting(url or STAYING_URL, workspace)
        if let_in:
            return Server(api_url=url or STAYING_URL, key=key)
        say(f"note: the server at {url or STAYING_URL} wants another key ({VARIABLE}); starting one for this run")
    elif url:
        say(f"note: PREFECT_API_URL = {url} does not answer; starting a server for this run")
    return None


def start(workspace: Path, port: int, *, guarded: bool = True) -> tuple[Server, tree.Tree]:
    """Start a server with the workspace's database and wait until it answers. Raises RuntimeError if it does not."""
    server = Server(api_url=f"http://127.0.0.1:{port}/api", key=key_of(workspace))
    log = home(workspace) / "server.log"
    with FileLock(home(workspace) / "starting.lock"):  # two servers must not lay out one database at once
        planted = _planted(workspace, port, guarded=guarded)
        try:
            import prefect  # noqa: F401  takes half as long as the server: side by side

            deadline = time.monotonic() + START_TIMEOUT_S
            while not healthy(server.api_url):
                if planted.process.poll() is not None:
                    raise _ended(log, planted.process.returncode)
                if time.monotonic() > deadline:
                    raise RuntimeError(f"prefect's server did not answer within {START_TIMEOUT_S:.0f} s; see {log}")
                time.sleep(0.05)
        except BaseException:
            planted.end(grace_s=5)
            raise
    return server, planted


def _ended(log: Path, code: int) -> Exception:
    """Say why a server ended that should have started, by the end of its log."""
    with log.open("rb") as read:
        read.seek(max(0, log.stat().st_size - 4_000))
        end = read.read().decode(errors="replace")
    if "Can't locate revision" in end:  # Alembic's words, of a database laid out by a later version
        return BadInput(
            f"{log.with_name('prefect.db')}: a newer Prefect than this one wrote it; use that one, or move the file away: it holds "
            "what the pages show, no artifact and no lineage"
        )
    return RuntimeError(f"prefect's server ended with exit code {code}; see {log}")


def _planted(workspace: Path, port: int, *, guarded: bool, mark: str | None = None) -> tree.Tree:
    """Start the keeper of a server, and wait for nothing."""
    folder, key = home(workspace), key_of(workspace)
    here = {
        "PREFECT_HOME": str(folder),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_API_AUTH_STRING": key,
        VARIABLE: key,
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://127.0.0.1:{port},http://localhost:{port}",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(CLONE), os.environ.get("PYTHONPATH", "")))),
        "PYTHONSAFEPATH": "1",
    }
    command = [sys.executable, "-m", "tasks.running.served", str(port)]
    with (folder / "server.log").open("ab") as output:
        told = SETTINGS | alone.environment() | here
        return tree.plant(
            command, output, environment=told, folder=alone.NOWHERE, guarded=guarded, grace_s=10, mark=mark
        )


class Again:
    """Starts a server of this workspace again that was killed together with its keeper, under its mark, so many times."""

    def __init__(self, workspace: Path, api_url: str, mark: str, times: int = 3) -> None:
        self.workspace, self.port, self.mark, self.left = workspace, urlsplit(api_url).port or 4200, mark, times
        self.grown: list[tree.Tree] = []  # held, so that the system's list of the dead is cleared

    def __call__(self) -> str | None:
        """Give what was done, in words: nothing while its keeper lives, or once it has been tried often enough."""
        with FileLock(home(self.workspace) / "starting.lock"):  # of several runs that miss it, one starts it
            if self.left < 0 or tree.members(self.mark):
                return None
            self.left -= 1
            if self.left < 0:
                return f"it does not stay; see {home(self.workspace) / 'server.log'}. The run goes on without its pages, slowly"
            self.grown.append(_planted(self.workspace, self.port, guarded=False, mark=self.mark))
            return "it was killed with its keeper, and is started again"


@contextlib.contextmanager
def using(server: Server) -> Iterator[None]:
    """Let Prefect talk to this server for the length of a block."""
    from prefect.settings import (
        PREFECT_API_AUTH_STRING,
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_UI_URL,
        temporary_settings,
    )

    # Without a heartbeat, whose thread would hold up the end of a flow by a second: alive.py knows who is alive.
    settings = {PREFECT_API_URL: server.api_url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
    settings[PREFECT_API_AUTH_STRING] = server.key
    wait_for_it()
    if urlsplit(server.api_url).hostname in ("127.0.0.1", "localhost"):  # others know their pages' address themselves
        settings[PREFECT_UI_URL] = server.ui_url
    with temporary_settings(settings):
        yield


@functools.cache
def wait_for_it() -> None:
    """Let every client of this process try again where nobody listens: the server was there, and is started again within seconds.

    Prefect's own does so only once it has reached the server itself, and makes new ones in the middle of a run (for each stage's tag,
    to ask for a slot): one that was made while a killed server was away ended the run.
    """
    from prefect.client.base import PrefectHttpxAsyncClient, PrefectHttpxSyncClient

    for client in (PrefectHttpxAsyncClient, PrefectHttpxSyncClient):
        client._has_connected = property(lambda _: True, lambda _, value: None)  # type: ignore[assignment]


def _drain() -> None:
    """Hand over the logs and events that Prefect still holds, while the server is there to take them."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    APILogWorker.drain_all(timeout=10)
    EventsWorker.drain_all(timeout=10)
