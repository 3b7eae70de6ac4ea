"""As much of a hub as models are asked for, on this machine: one repository, which may be gated, silent or not there."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from loopback import Quiet, answering

COMMIT = "c" * 40


class ModelHub:
    """One model, owner/name."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.commit = COMMIT
        self.gated_for: set[str | None] = set()  # values of Authorization that may not read files
        self.status: int | None = None  # instead of any answer
        self.error_code = ""  # the hub's own word for it
        self.silent = False  # accepts, and never answers
        self.asked: list[str] = []
        self.url = ""


class _Handler(Quiet):
    hub: ModelHub
    ended: threading.Event

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        hub, path = self.hub, unquote(self.path.partition("?")[0])
        hub.asked.append(path)
        if hub.silent:
            self.ended.wait(60)
            return
        if hub.status is not None:
            self._send(
                hub.status, {"error": "no"}, with_body, {"X-Error-Code": hub.error_code} if hub.error_code else {}
            )
        elif path.startswith("/api/models/owner/name/tree/"):
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": "b" * 40} for name, data in hub.files.items()
            ]
            self._send(200, tree, with_body)
        elif path.startswith("/api/models/owner/name"):
            files = [{"rfilename": name} for name in hub.files]
            told = {
                "id": "owner/name",
                "sha": hub.commit,
                "siblings": files,
                "gated": "manual" if hub.gated_for else False,
            }
            self._send(200, told, with_body)
        elif path.startswith("/owner/name/resolve/"):
            self._file(path.removeprefix("/owner/name/resolve/").partition("/")[2], with_body)
        else:
            self._send(404, {"error": "Repository not found"}, with_body, {"X-Error-Code": "RepoNotFound"})

    def _file(self, name: str, with_body: bool) -> None:
        hub = self.hub
        if self.headers.get("Authorization") in hub.gated_for:
            self._send(403, {"error": "gated"}, with_body, {"X-Error-Code": "GatedRepo"})
        elif name not in hub.files:
            self._send(404, {"error": "none"}, with_body, {"X-Error-Code": "EntryNotFound"})
        else:
            tag = hashlib.sha1(hub.files[name]).hexdigest()
            self._send(200, hub.files[name], with_body, {"ETag": f'"{tag}"', "X-Repo-Commit": hub.commit})

    def _send(self, status: int, body: Any, with_body: bool, headers: dict[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if with_body:
            self.wfile.write(data)


@contextmanager
def serving(hub: ModelHub) -> Iterator[ModelHub]:
    """Answer on a free port of this machine."""
    ended = threading.Event()
    with answering(_Handler, hub=hub, ended=ended) as hub.url:
        try:
            yield hub
        finally:
            ended.set()


def files_of(folder: Path) -> dict[str, bytes]:
    """Take a folder's files as a repository's."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
