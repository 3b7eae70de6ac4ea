"""A server for one command: used where one answers, started where none does, gone when its user is gone."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psutil
import pytest
from loopback import Quiet, answering
from waiting import wait_until

from tasks.running.key import key_of, lets_in
from tasks.running.server import Server, _ended, api, free_port, healthy, wait_for_it
from tinyllava_core.errors import BadInput
from tinyllava_core.process_tree import members


def test_a_server_that_answers_is_used_as_it_is(
    prefect_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", prefect_server)
    told: list[str] = []
    with api(tmp_path, told.append) as server:
        assert server == Server(api_url=prefect_server)
        assert server.ui_url == prefect_server.replace("/api", "/v2")
    assert healthy(prefect_server)
    assert told == []
    assert list(tmp_path.iterdir()) == []


def test_a_client_that_is_made_while_the_server_is_away_waits_for_it() -> None:
    """A stage asks for a slot by a client of its own: made between a server's death and its next life, it ended the run."""
    from prefect.concurrency.services import ConcurrencySlotAcquisitionWithLeaseService as Slots
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_RETRY_JITTER_FACTOR, temporary_settings

    wait_for_it()
    port = free_port()

    class Granting(Quiet):
        def do_GET(self) -> None:  # a token against forged requests, which it has none of
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_POST(self) -> None:
            body = json.dumps({"lease_id": str(uuid4()), "limits": []}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    late = threading.Timer(3.0, lambda: answers.enter_context(answering(Granting, port=port)))
    with (
        contextlib.ExitStack() as answers,
        temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{port}/api", PREFECT_CLIENT_RETRY_JITTER_FACTOR: 0}),
    ):
        late.start()
        got = Slots.instance(frozenset([f"tag:{port}"])).send((1, "concurrency", None, None, 300, False, None))
        assert got.result(30).status_code == 200


def test_nobody_answers_at_a_free_port() -> None:
    assert not healthy(f"http://127.0.0.1:{free_port()}/api")


@pytest.mark.slow
def test_a_server_of_our_own_is_started_again_when_it_is_killed_and_gone_when_its_user_is(
    prefect_server: str, prefect_workspace: Path
) -> None:
    """It shares the database of a server that is at work, as two runs at once in one workspace do."""
    script = f"""
import time
from pathlib import Path
from tasks.running import server
from tinyllava_core import process_tree as tree
plant = tree.plant
def told(*args, **kwargs):
    planted = plant(*args, **kwargs)
    print(planted.mark, flush=True)
    return planted
tree.plant = told
with server.api(Path({str(prefect_workspace)!r}), say=lambda text: print(text, flush=True)) as ours:
    print(ours.api_url, flush=True)
    time.sleep(600)
"""
    environment = os.environ | {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    try:
        lines = iter(process.stdout.readline, "")
        assert next(lines).startswith("note: PREFECT_API_URL = http://127.0.0.1:9/api does not answer")
        assert next(lines).startswith("server ")
        mark, url = next(lines).strip(), next(lines).strip()
        assert healthy(url)
        port = urlsplit(url).port
        listening = [
            one.pid for one in psutil.net_connections("tcp") if one.laddr[1:] == (port,) and one.status == "LISTEN"
        ]
        os.kill(listening[0], signal.SIGKILL)
        assert "does not answer" in next(lines)
        assert "answers again" in next(lines)
        wait_until(lambda: lets_in(url, key_of(prefect_workspace)), seconds=60)
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: not members(mark), seconds=60)
    assert not healthy(url)
    assert healthy(prefect_server)


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    assert healthy(prefect_server)


def test_a_database_that_a_newer_prefect_wrote_is_one_line_that_says_what_it_holds(tmp_path: Path) -> None:
    """The words are those with which Prefect 3.8.8's server ended on a database of 3.9.1's."""
    log = tmp_path / "server.log"
    log.write_text(
        "an older life\n" * 1000
        + "alembic.util.exc.CommandError: Can't locate revision identified by '27d8f4e1a6c9'\n\nERROR:    Application startup failed. Exiting.\n"
    )
    with pytest.raises(
        BadInput, match=r"prefect.db: a newer Prefect than this one wrote it; .* no artifact and no lineage"
    ):
        raise _ended(log, 3)
    log.write_text("ERROR: something else")
    assert str(_ended(log, 3)) == f"prefect's server ended with exit code 3; see {log}"
