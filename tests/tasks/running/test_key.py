"""Whom Prefect's server answers: those with the workspace's key; no page of another site, no other name, no other user."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from waiting import wait_until
from web_page import basic, send

from tasks.running import alive, server
from tasks.running.key import fitting, is_ours, key_file, key_of, lets_in
from tasks.running.server import Again, free_port, healthy
from tasks.running.watched import watched
from tinyllava_core.errors import BadInput
from tinyllava_core.process_tree import members, plant

NOBODY = 65534
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can act as another user")


@pytest.fixture
def key(prefect_server: str, prefect_workspace: Path) -> str:
    return key_of(prefect_workspace)


def test_the_key_is_long_random_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    made = key_of(tmp_path / "one")
    assert made == key_of(tmp_path / "one")
    assert made != key_of(tmp_path / "two")
    assert len(made) >= 32
    assert stat.S_IMODE(key_file(tmp_path / "one").stat().st_mode) == 0o600
    assert [file.name for file in key_file(tmp_path / "one").parent.iterdir()] == ["auth"]


def test_a_key_that_others_could_have_read_is_not_used(tmp_path: Path) -> None:
    key_of(tmp_path)
    key_file(tmp_path).chmod(0o640)
    with pytest.raises(BadInput, match=r"auth: the key of Prefect's server must be .* remove it"):
        key_of(tmp_path)


def test_a_link_that_somebody_planted_is_not_used_as_the_key(tmp_path: Path) -> None:
    key_file(tmp_path).parent.mkdir()
    (tmp_path / "theirs").write_text("known to them")
    (tmp_path / "theirs").chmod(0o600)
    key_file(tmp_path).symlink_to(tmp_path / "theirs")
    with pytest.raises(BadInput, match="that you own"):
        key_of(tmp_path)


def test_without_the_key_the_server_says_nothing_but_that_it_lives(prefect_server: str, key: str) -> None:
    assert healthy(prefect_server)
    assert lets_in(prefect_server, key)
    assert not lets_in(prefect_server, None)
    assert not lets_in(prefect_server, key[:-1])
    for place in ("/flow_runs/filter", "/work_pools/filter", "/deployments/filter"):
        assert send(f"{prefect_server}{place}", {}, {})[0] == 401
        assert send(f"{prefect_server}{place}", {"Authorization": basic(key)}, {})[0] == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://127.0.0.1.evil.example"]
)
def test_a_page_of_another_origin_is_refused_even_with_the_key(prefect_server: str, key: str, origin: str) -> None:
    headers = {"Origin": origin, "Authorization": basic(key)}
    status, said = send(f"{prefect_server}/flow_runs/filter", headers, {})
    assert status == 403
    assert "only this server's own pages" in said
    plain = headers | {"Content-Type": "text/plain"}  # what a page may send without asking first
    assert send(f"{prefect_server}/flow_runs/filter", plain, {})[0] == 403
    assert send(f"{prefect_server}/health", {"Origin": origin})[0] == 403


def test_its_own_pages_are_answered(prefect_server: str, key: str) -> None:
    own = prefect_server.removesuffix("/api")
    for origin in (own, own.replace("127.0.0.1", "localhost")):
        assert send(f"{prefect_server}/hello", {"Origin": origin, "Authorization": basic(key)})[0] == 200
    assert send(f"{own}/v2/", {"Accept": "text/html"})[0] == 200


def test_a_name_that_was_made_to_point_here_is_refused(prefect_server: str, key: str) -> None:
    port = prefect_server.split(":")[2].split("/")[0]
    for host in (f"evil.example:{port}", f"127.0.0.1.evil.example:{port}", f"user@127.0.0.1:{port}", ""):
        status, _ = send(f"{prefect_server}/hello", {"Host": host, "Authorization": basic(key)})
        assert status == 403, host
    assert send(f"{prefect_server}/hello", {"Host": f"localhost:{port}", "Authorization": basic(key)})[0] == 200


def test_a_web_socket_of_another_origin_is_refused(prefect_server: str) -> None:
    port = prefect_server.split(":")[2].split("/")[0]
    handshake = {
        "Host": f"127.0.0.1:{port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "prefect",
    }
    assert send(f"{prefect_server}/events/out", handshake | {"Origin": "https://evil.example"})[0] == 403
    with socket.create_connection(("127.0.0.1", int(port))) as own:
        lines = "".join(f"{name}: {value}\r\n" for name, value in handshake.items())
        own.sendall(f"GET /api/events/out HTTP/1.1\r\n{lines}\r\n".encode())
        assert b" 101 " in own.recv(200)


@as_root
def test_another_user_reads_neither_the_key_nor_the_books_of_the_server(
    prefect_server: str, prefect_workspace: Path, key: str
) -> None:
    for folder in (prefect_workspace, *list(prefect_workspace.parents)[:3]):
        folder.chmod(folder.stat().st_mode | 0o055)
    home = alive.home(prefect_workspace)
    for file in (home / "auth", *home.glob("prefect.db*")):
        ran = subprocess.run(["cat", str(file)], user=NOBODY, group=NOBODY, capture_output=True, check=False)
        assert ran.returncode != 0, file
        assert b"Permission denied" in ran.stderr
    shown = subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    assert key not in shown


@as_root
def test_a_server_of_another_user_is_told_no_key_and_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would learn the key; and a worker beside it would start what it says."""
    monkeypatch.delenv("PREFECT_API_AUTH_STRING", raising=False)
    script = """
import encodings.idna, http.server, os
os.setgid(65534); os.setuid(65534)
class Eager(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        print(self.path, self.headers.get("Authorization"), flush=True)
        self.send_response(401 if self.path.endswith("hello") else 200); self.end_headers()
    def log_message(self, *_): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Eager)
print(server.server_port, flush=True)
server.serve_forever()
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{int(process.stdout.readline())}/api"
        key_of(tmp_path)
        assert healthy(url)
        assert not is_ours(url)
        assert fitting(url, tmp_path) == (False, None)
    finally:
        process.kill()
    asked = process.stdout.read().split("\n")
    assert "/api/hello None" in asked
    assert not any("Basic" in line for line in asked)


def test_a_server_that_is_killed_with_its_keeper_is_planted_again_under_its_mark_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the server's place: a program that only says that it lives."""
    small = "import http.server as h, sys; h.HTTPServer(('127.0.0.1', int(sys.argv[1])), Up).serve_forever()"
    up = "def do_GET(s): s.send_response(200); s.end_headers()"
    program = f"import http.server\nclass Up(http.server.BaseHTTPRequestHandler):\n  {up}\n{small}"
    whole = server.tree.plant
    with monkeypatch.context() as patch:
        patch.setattr("tasks.running.watched.LOOK_EVERY_S", 0.1)
        patch.setattr(
            server.tree,
            "plant",
            lambda command, *of, **how: whole([sys.executable, "-c", program, command[-1]], *of, **how),
        )
        port, told = free_port(), list[str]()
        url = f"http://127.0.0.1:{port}/api"
        key_of(tmp_path)
        kept = server._planted(tmp_path, port, guarded=False)
        try:
            wait_until(lambda: healthy(url), seconds=20)
            with watched(lambda: healthy(url), "here", told.append, Again(tmp_path, url, kept.mark, times=2)):
                for time in (1, 2, 3):
                    for process in members(kept.mark):
                        process.kill()
                    wait_until(lambda: len(told) >= 3 * time - (time == 3), seconds=20)  # noqa: B023
        finally:
            kept.end(grace_s=0)
    away, back, again = (
        "note: Prefect's server at here does not answer",
        "note: Prefect's server at here answers again",
        "note: Prefect's server at here: it was killed with its keeper, and is started again",
    )
    assert [line.split(";")[0] for line in told] == [
        *(away, again, back) * 2,
        away,
        "note: Prefect's server at here: it does not stay",
    ]
    assert members(kept.mark) == []


def test_one_look_that_fails_is_no_reason_to_say_anything() -> None:
    answers, told, over = iter([True, False, True, False, False, False, True]), [], threading.Event()

    def answer() -> bool:
        given = next(answers, None)
        if given is None:
            over.set()
        return given is not False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.running.watched.LOOK_EVERY_S", 0.01)
        with watched(answer, "here", told.append):
            assert over.wait(10)
    assert [line.split(";")[0] for line in told] == [
        "note: Prefect's server at here does not answer",
        "note: Prefect's server at here answers again",
    ]


def test_a_server_whose_run_and_watchdog_were_killed_is_taken_away_by_the_next_run(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as output:
        left = plant([sys.executable, "-c", "import time; time.sleep(600)"], output, guarded=False)
        held = plant([sys.executable, "-c", "import time; time.sleep(600)"], output, guarded=False)
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import time; from pathlib import Path; from tasks.running.alive import owned\n"
            f"with owned(Path({str(tmp_path)!r}), {left.mark!r}): print('held', flush=True); time.sleep(600)",
        ],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline()
        with alive.owned(tmp_path, held.mark):
            assert alive.end_orphans(tmp_path) == 0
            holder.kill()
            holder.wait()
            assert alive.end_orphans(tmp_path) == 1
            assert members(left.mark) == []
            assert members(held.mark) != []
        left.process.wait(5)
    finally:
        holder.kill()
        left.end(grace_s=0)
        held.end(grace_s=0)
