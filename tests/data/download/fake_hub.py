"""As much of a hub as the `datasets` library asks for, on this machine: one dataset's files, and a count of requests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, unquote

from loopback import Quiet, answering

COMMIT = "a" * 40


class Hub:
    """One dataset, owner/name."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.fetched: list[str] = []  # files that were read, not only asked about
        self.ranges: list[
            tuple[str, int, int]
        ] = []  # of each answer with a file's bytes: from which on, and where they end
        self.lfs = False  # True: files are told with their sha256, as big ones are
        self.broken: dict[
            str, list[int]
        ] = {}  # of a file's next answers, after how many bytes the connection is closed
        self.failing: dict[str, int] = {}  # files whose bytes are answered by this status
        self.wrong: set[str] = set()  # files whose bytes are not what the tree says
        self.refused: tuple[int, dict[str, str]] | None = None  # status and headers instead of any answer
        self.tokens: list[str | None] = []
        self.url = ""

    def entries(self, folder: str) -> list[dict[str, Any]]:
        """List a folder as the hub's tree does: its files, and its folders."""
        inner = {name.removeprefix(folder).strip("/"): name for name in self.files if name.startswith(folder)}
        found = [self.entry(name) for short, name in inner.items() if "/" not in short]
        for short in sorted({short.split("/")[0] for short in inner if "/" in short}):
            found.append({"type": "directory", "oid": "b" * 40, "size": 0, "path": f"{folder}/{short}".strip("/")})
        return found

    def entry(self, name: str) -> dict[str, Any]:
        """Describe one file."""
        data = self.files[name]
        found = {"type": "file", "oid": self.git_sha1(name), "size": len(data), "path": name}
        if self.lfs:
            found["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        return found

    def git_sha1(self, name: str) -> str:
        """Hash a file as git does."""
        data = self.files[name]
        return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()

    def tag(self, name: str) -> str:
        """Hash a file as its ETag."""
        return hashlib.sha1(self.files[name]).hexdigest()


class _Handler(Quiet):
    hub: Hub

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_POST(self) -> None:
        asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        assert "/paths-info/" in self.path, self.path
        self._send([self.hub.entry(name) for name in asked["paths"] if name in self.hub.files], True)

    def _answer(self, with_body: bool) -> None:
        path, _, query = self.path.partition("?")
        path = unquote(path)
        self.hub.tokens.append(self.headers.get("Authorization"))
        if self.hub.refused is not None:
            self._send({}, with_body, *self.hub.refused)
            return
        home, tree, files = "/api/datasets/owner/name", f"/api/datasets/owner/name/tree/{COMMIT}", "/resolve/"
        if path.startswith(tree):
            folder = path.removeprefix(tree).strip("/")
            whole = [self.hub.entry(name) for name in self.hub.files] if "recursive=true" in query.lower() else None
            self._send(whole if whole is not None else self.hub.entries(folder), with_body)
        elif path == home or path.startswith(f"{home}/revision/"):
            siblings = [{"rfilename": name} for name in self.hub.files]
            self._send({"_id": "1", "id": "owner/name", "sha": COMMIT, "siblings": siblings, "tags": []}, with_body)
        elif path.startswith("/datasets/owner/name/resolve/"):
            self._file(path.split(files)[1].partition("/")[2], with_body)
        else:
            self._send({}, with_body, status=404, headers={"X-Error-Code": "RepoNotFound"})

    def _file(self, name: str, with_body: bool) -> None:
        if name not in self.hub.files:
            self._send({}, with_body, status=404, headers={"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            return
        if with_body and name in self.hub.failing:
            self._send({}, with_body, self.hub.failing[name])
            return
        if with_body:
            self.hub.fetched.append(name)
        headers = {"ETag": f'"{self.hub.tag(name)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        data, start = self.hub.files[name], 0
        if name in self.hub.wrong:
            data = data[:-1] + bytes([data[-1] ^ 1])
        if wanted := self.headers.get("Range"):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, whole = int(first), len(data)
            data = data[: int(last) + 1] if last else data
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{whole}"
        if with_body:
            self.hub.ranges.append((name, start, len(data)))
        if with_body and self.hub.broken.get(name):
            self._send(data[start:], with_body, 206 if wanted else 200, headers, cut=self.hub.broken[name].pop(0))
            return
        self._send(data[start:], with_body, 206 if wanted else 200, headers)

    def _send(
        self,
        what: Any,
        with_body: bool,
        status: int = 200,
        headers: dict[str, str] | None = None,
        cut: int | None = None,
    ) -> None:
        data = what if isinstance(what, bytes) else json.dumps(what).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if with_body:
            self.wfile.write(data[:cut])
        self.close_connection = self.close_connection or cut is not None


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Hub]:
    """Serve a dataset's files as a hub does."""
    hub = Hub(files)
    with answering(_Handler, hub=hub) as hub.url:
        yield hub
