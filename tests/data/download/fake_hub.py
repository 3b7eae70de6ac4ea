"""As much of a hub as the `datasets` library asks for, on this machine: one dataset's files, and a count of requests."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "a" * 40


class Hub:
    """One dataset, owner/name."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.fetched: list[str] = []  # files that were read, not only asked about
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
        return {"type": "file", "oid": self.tag(name), "size": len(self.files[name]), "path": name}

    def tag(self, name: str) -> str:
        """Hash a file as its ETag."""
        return hashlib.sha1(self.files[name]).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        home, tree, files = "/api/datasets/owner/name", f"/api/datasets/owner/name/tree/{COMMIT}", "/resolve/"
        if path.startswith(tree):
            self._send(self.hub.entries(path.removeprefix(tree).strip("/")), with_body)
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
        if with_body:
            self.hub.fetched.append(name)
        headers = {"ETag": f'"{self.hub.tag(name)}"', "X-Repo-Commit": COMMIT}
        self._send(self.hub.files[name], with_body, headers=headers)

    def _send(self, what: Any, with_body: bool, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = what if isinstance(what, bytes) else json.dumps(what).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if with_body:
            self.wfile.write(data)


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Hub]:
    """Serve a dataset's files as a hub does."""
    hub = Hub(files)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
