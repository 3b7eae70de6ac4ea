"""A server that means harm, or is broken: a file is fetched whole and right, or there is one line and no file."""

from __future__ import annotations

import contextlib
import random
import socket
import tempfile
import threading
from functools import cache
from hashlib import sha256
from pathlib import Path

from benchmarks.torture.mutate import refused
from tinyllava_core.data.web import attempt
from tinyllava_core.data.web.fetch import fetch
from tinyllava_core.data.web.patience import Patience
from tinyllava_core.errors import BadInput

QUICK = Patience(attempts=3, first_wait_s=0.001, longest_wait_s=0.01, timeout_s=0.5, pause_s=0.0)
MOST_BYTES = 300_000  # of a body whose size nobody states, in these cases
STATUS = (200, 200, 200, 200, 206, 206, 301, 302, 304, 400, 401, 403, 404, 410, 416, 418, 429, 500, 503, 999, 0, -1)
HEADERS = (
    *(
        "Content-Length: 99999999999999999999",
        "Content-Length: -1",
        "Content-Length: x",
        "Content-Length: 10",
        "Content-Length: 0",
    ),
    *(
        "Content-Range: bytes 0-9/10",
        "Content-Range: bytes 5-1/3",
        "Content-Range: x",
        "Content-Type: text/html",
        "ETag: \xb2",
    ),
    *(
        "Transfer-Encoding: chunked",
        "Content-Encoding: gzip",
        "Content-Encoding: br",
        "Location: file:///etc/passwd",
        "Location: ",
    ),
    *(
        "Location: http://127.0.0.1:1/secret",
        "Location: http://169.254.169.254/",
        "Location: /a",
        "Location: http://[",
        "X: " + "y" * 90_000,
    ),
    *(
        "Retry-After: 99999999",
        "Retry-After: \xb2",
        "Retry-After: Fri, 31 Dec 9999 23:59:59 GMT",
        "Last-Modified: never",
        "no colon",
    ),
    *(
        "Set-Cookie: a=b; Domain=.",
        "Accept-Ranges: none",
        "Connection: keep-alive",
        "\xb2: 1",
        "Content-Length: 7\r\nContent-Length: 8",
    ),
)


class Server:
    """Answers each connection from the seed that the path names, and the number of times it was asked."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.asked: dict[str, int] = {}
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(2)
            request = connection.recv(65536).decode("latin-1")
            seed = request.split(" ")[1].strip("/")
            times = self.asked[seed] = self.asked.get(seed, 0) + 1
            for piece in _answer(random.Random(f"{seed} {times}"), content(seed), request):
                connection.sendall(piece)


def content(seed: str) -> bytes:
    """Give what the file behind a seed's URL truly is."""
    chance = random.Random(f"content {seed}")
    return chance.randbytes(chance.choice((1, 1000, 100_000)))


def _answer(chance: random.Random, data: bytes, request: str) -> list[bytes]:
    start = 0
    if chance.random() < 0.7 and "range: bytes=" in request.lower():
        asked = request.lower().split("range: bytes=")[1].split("-")[0]
        start = int(asked) if asked.isdigit() else 0
    if chance.random() < 0.25:  # an honest answer, for some to end well
        head = f"HTTP/1.1 {206 if start else 200} OK\r\nContent-Length: {len(data) - start}\r\nConnection: close\r\n"
        head += f"Content-Range: bytes {start}-{len(data) - 1}/{len(data)}\r\n" if start else ""
        return [head.encode() + b"\r\n", data[start:]]
    lines = [chance.choice(HEADERS) for _ in range(chance.randint(0, 4))]
    if chance.random() < 0.6:
        lines.append(f"Content-Length: {len(data) - start}")
    status = (
        f"HTTP/1.1 {chance.choice(STATUS)} OK"
        if chance.random() < 0.97
        else chance.choice(("HTTP/9", "", "\0", "SSH-2.0-x"))
    )
    head = "\r\n".join([status, *lines, "", ""]).encode("latin-1")
    body = data[start:] if chance.random() < 0.8 else chance.randbytes(len(data))
    if "Transfer-Encoding: chunked" in lines and chance.random() < 0.7:
        body = (
            b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chance.random() < 0.6 else b"fffffffffffffffff\r\n" + body
        )
    if chance.random() < 0.3:
        body = body[: chance.randrange(len(body) + 1)]
    if chance.random() < 0.1:
        return [head, *[body or b"x"] * (1 + 2_000_000 // max(1, len(body)))]  # far more than anybody asked for
    return [head, body]


@cache
def server() -> Server:
    """Start the server, once."""
    return Server()


def try_hostile(chance: random.Random) -> str:
    """Fetch one file from it, with or without knowing its size and sum."""
    attempt.UNSTATED_BYTES = MOST_BYTES
    seed = f"{chance.getrandbits(64):x}"
    data, host = content(seed), server()
    knows_size, knows_sum = chance.random() < 0.5, chance.random() < 0.6
    with tempfile.TemporaryDirectory() as folder:
        to = Path(folder) / "a"
        try:
            told = fetch(
                f"{host.url}/{seed}", to, patience=QUICK, size_bytes=len(data) if knows_size else None,
                sha256=sha256(data).hexdigest() if knows_sum else None,
            )  # fmt: skip
        except (BadInput, ConnectionError) as error:
            assert not to.exists(), "failed, and left a file of that name"
            left = sum(path.stat().st_size for path in Path(folder).iterdir())
            assert left <= MOST_BYTES + 10_000, f"left {left} bytes"
            refused(error)
            return "refused" if isinstance(error, BadInput) else "given up"
        found = to.read_bytes()
        assert told.sha256 == sha256(found).hexdigest()
        assert not knows_sum or found == data, "another file than its sum says"
        assert not knows_size or len(found) == len(data), "another size than is stated"
        assert [path.name for path in Path(folder).iterdir()] == ["a"]
        assert host.asked[seed] <= 20, f"asked {host.asked[seed]} times"
        return "fetched" if found == data else "fetched something"
