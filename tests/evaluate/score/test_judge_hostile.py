"""A judge's endpoint that means harm, or is only broken: it costs one record, or one line, and neither memory, hours nor a key."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest
from judge_server import judge_server
from loopback import Quiet, answering

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.score import judge as module
from tinyllava_core.evaluate.score.judge import KEY, MODEL, URL, Judge, Refused

HELLO = [{"role": "user", "content": "Hello?"}]
GOOD = json.dumps({"model": "m", "choices": [{"message": {"content": "5"}}]}).encode()


class Endpoint(Quiet):
    """Reads what it is asked, remembers it, and does what its kind does."""

    asked: ClassVar[list[tuple[str, str | None, str | None]]]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append((self.path, self.headers["Authorization"], self.headers["Accept-Encoding"]))
        self.answer()

    def answer(self) -> None:
        self.give(GOOD)

    def give(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


def ask(address: str, tmp_path: Path, key: str | None = "s3cret-key") -> str:
    return Judge(f"{address}/v1", "gpt-x", key, tmp_path / "judge.jsonl", wait_s=0.001).ask(HELLO)


@pytest.mark.parametrize("status", [200, 401])
def test_an_answer_without_end_is_read_to_its_limit_and_no_further(tmp_path: Path, status: int) -> None:
    class Endless(Endpoint):
        def answer(self) -> None:
            self.send_response(status)
            self.send_header("Connection", "close")
            self.end_headers()
            with contextlib.suppress(OSError):
                while sum(sent) < 256 << 20:
                    sent.append(self.wfile.write(b" " * (1 << 20)))

    sent: list[int] = []
    said = "an answer of more than 4 MB" if status == 200 else "status 401: ; check"
    with answering(Endless, asked=[]) as address, pytest.raises(BadInput, match=said):
        ask(address, tmp_path)
    assert sum(sent) < 64 << 20, "what the sockets hold, and no more"


def test_an_answer_that_is_packed_though_nobody_asked_is_not_unpacked(tmp_path: Path) -> None:
    class Packed(Endpoint):
        def answer(self) -> None:
            self.give(gzip.compress(GOOD), Content_Encoding="gzip")

    asked: list[tuple[str, str | None, str | None]] = []
    with answering(Packed, asked=asked) as address, pytest.raises(Refused, match=r"packed \(gzip\), unasked"):
        ask(address, tmp_path)
    assert asked == [("/v1/chat/completions", "Bearer s3cret-key", "identity")]


@pytest.mark.parametrize("head", ["HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", "HTTP/1.1 200 OK\r\nX-Slow: "])
def test_an_answer_that_drips_has_one_time_for_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: str
) -> None:
    class Drip(Endpoint):
        def answer(self) -> None:
            self.wfile.write(head.encode())
            with contextlib.suppress(OSError):
                while not over.wait(0.02):
                    self.wfile.write(b"1")

    monkeypatch.setattr(module, "TIMEOUT_S", 0.3)
    monkeypatch.setattr(module, "TRIES", 2)
    over = threading.Event()
    with answering(Drip, asked=[]) as address:
        with pytest.raises(BadInput, match=r"does not answer within 0\.3 s, 2 times"):
            ask(address, tmp_path)
        over.set()


def test_an_endpoint_that_takes_a_request_by_drips_has_no_more_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sip() -> None:
        taken, _ = server.accept()
        with taken, contextlib.suppress(OSError):
            while not over.wait(0.02):
                taken.recv(4096)

    monkeypatch.setattr(module, "TIMEOUT_S", 0.3)
    monkeypatch.setattr(module, "TRIES", 1)
    over = threading.Event()
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
        server.bind(("127.0.0.1", 0))
        server.listen()
        (thread := threading.Thread(target=sip)).start()
        judge = Judge(f"http://127.0.0.1:{server.getsockname()[1]}/v1", "m", None, tmp_path / "j.jsonl")
        began = time.monotonic()
        with pytest.raises(BadInput, match=r"does not answer within 0\.3 s, 1 times"):
            judge.ask([{"role": "user", "content": "x" * (32 << 20)}])  # at this pace 150 s
        assert time.monotonic() - began < 60
        over.set()
        thread.join()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_prompts_and_key_follow_no_redirect(tmp_path: Path, status: int) -> None:
    class Elsewhere(Endpoint):
        def answer(self) -> None:
            self.give(b"", status, Location=f"{other}/v1/take?token=5ec2e7")

        do_GET = Endpoint.do_POST

    asked: list[Any] = []
    took: list[Any] = []
    said = rf"status {status}, to 'http://127\.0\.0\.1:\d+/v1/take'; .*set {URL}"
    with (
        answering(Endpoint, asked=took) as other,
        answering(Elsewhere, asked=asked) as address,
        pytest.raises(BadInput, match=said) as refused,
    ):
        ask(address, tmp_path)
    assert (took, len(asked), type(refused.value)) == ([], 1, BadInput)


def test_no_error_says_the_key_or_the_password_of_the_address(tmp_path: Path) -> None:
    class Parrot(Endpoint):
        def answer(self) -> None:
            self.give(f"no such key: {self.headers['Authorization']}".encode(), 401)

    asked: list[tuple[str, str | None, str | None]] = []
    with answering(Parrot, asked=asked) as address:
        with pytest.raises(BadInput, match=r"status 401: no such key: Bearer \*\*\*; check"):
            ask(address, tmp_path)
        secret = address.replace("http://", "http://me:hunter2@")
        judge = Judge(f"{secret}/v1?api_key=hunter3&api-version=7", "m", None, tmp_path / "j.jsonl")
        with pytest.raises(BadInput, match=rf"judge m at {address}/v1\?api-version=7: status 401") as refused:
            judge.ask(HELLO)
    assert "hunter" not in str(refused.value)
    basic = f"Basic {base64.b64encode(b'me:hunter2').decode()}"
    assert asked[1][:2] == ("/v1/chat/completions?api_key=hunter3&api-version=7", basic)


def test_a_netrc_does_not_take_the_keys_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (netrc := tmp_path / "netrc").write_text("machine 127.0.0.1 login me password hunter2\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with judge_server(["5"]) as server:
        Judge(server.url, "m", "mine", tmp_path / "j.jsonl").ask(HELLO)
    assert server.keys == ["Bearer mine"]


@pytest.mark.parametrize("key", ["ключ-hunter2", "hunter2\r\nX-Evil: 1", "hunter2\x00"])
def test_a_key_that_no_header_carries_is_told_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv(URL, "http://127.0.0.1:9/v1")
    monkeypatch.setenv(MODEL, "m")
    monkeypatch.setattr("os.environ", dict(module.os.environ) | {KEY: key})  # a shell could not set the last one
    with pytest.raises(BadInput, match=f"{KEY}: holds a letter that is no ASCII, or a line end") as refused:
        Judge.from_environment(tmp_path / "j.jsonl")
    assert "hunter" not in str(refused.value)


def test_the_line_end_of_a_file_that_held_the_key_is_none_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with judge_server(["5"]) as server:
        for name, value in ((URL, server.url), (MODEL, "m"), (KEY, "mine\r\n")):
            monkeypatch.setenv(name, value)
        Judge.from_environment(tmp_path / "j.jsonl").ask(HELLO)
    assert server.keys == ["Bearer mine"]


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1:8000/v1", "ftp://h/v1", "file:///etc/passwd", "http://[::1", "http:///v1", "http://h:99999/v1", ""],
)
def test_an_address_that_is_none_is_told_before_anything_is_asked(tmp_path: Path, url: str) -> None:
    with pytest.raises(BadInput, match=rf"{URL}: '.*' is no http\(s\) address; expected one such as http://"):
        Judge(url, "m", None, tmp_path / "j.jsonl")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"choices":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"model": ' + b"9" * 6000 + b', "choices": [{"message": {"content": "5"}}]}',
        b'{"choices": {"0": 1}}',
        b'"x"',
        b"",
        GOOD.decode().replace("m", "\xff").encode("latin-1"),
    ],
)
def test_an_answer_that_is_no_chat_completion_is_one_requests_fault(tmp_path: Path, body: bytes) -> None:
    with judge_server([body]) as server, pytest.raises(Refused, match="not a chat completion: "):
        Judge(server.url, "m", None, tmp_path / "j.jsonl").ask(HELLO)
