"""As much of a hub as takes a model: repositories made, files of both kinds, commits. On this machine; it may refuse or hang up."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from loopback import Quiet, answering

LARGE = 100  # bytes from which a file goes aside, as a hub's own rule has it for 10 MB


class PushHub:
    """What was sent to it."""

    def __init__(self) -> None:
        self.made: list[dict[str, Any]] = []
        self.aside: dict[str, bytes] = {}  # by sha256
        self.committed: dict[str, bytes] = {}
        self.tokens: set[str | None] = set()
        self.status: int | None = None  # of every answer
        self.hangs_up_at = ""  # part of a path
        self.asked: list[str] = []
        self.url = ""


class _Handler(Quiet):
    hub: PushHub

    def do_GET(self) -> None:
        self._send(404, {"error": "not here"})

    def do_PUT(self) -> None:
        body, hub = self._body(), self.hub
        hub.asked.append("PUT")
        hub.aside[hashlib.sha256(body).hexdigest()] = body
        self._send(200, {})

    def do_POST(self) -> None:
        body, hub, path = self._body(), self.hub, self.path.partition("?")[0]
        hub.asked.append(path)
        hub.tokens.add(self.headers.get("Authorization"))
        if hub.hangs_up_at and hub.hangs_up_at in path:
            self.close_connection = True
            self.connection.close()
        elif hub.status is not None:
            self._send(hub.status, {"error": "You may not write here"})
        elif path == "/api/repos/create":
            hub.made.append(json.loads(body))
            self._send(200, {"url": f"{hub.url}/owner/name"})
        elif path == "/api/validate-yaml":  # of the card
            self._send(200, {"errors": [], "warnings": []})
        elif path == "/api/models/owner/name/preupload/main":
            asked = json.loads(body)["files"]
            told = [{"path": one["path"], "uploadMode": "lfs" if one["size"] >= LARGE else "regular", "shouldIgnore": False} for one in asked]  # fmt: skip
            self._send(200, {"files": told})
        elif path == "/owner/name.git/info/lfs/objects/batch":
            objects = [{**one, "actions": {"upload": {"href": f"{hub.url}/aside/{one['oid']}"}}} for one in json.loads(body)["objects"]]  # fmt: skip
            self._send(200, {"transfer": "basic", "objects": objects}, "application/vnd.git-lfs+json")
        elif path == "/api/models/owner/name/commit/main":
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    hub.committed[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    hub.committed[value["path"]] = hub.aside[value["oid"]]
            self._send(
                200, {"success": True, "commitOid": "d" * 40, "commitUrl": f"{hub.url}/owner/name/commit/{'d' * 40}"}
            )
        else:
            self._send(404, {"error": f"no {path}"})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _send(self, status: int, told: Any, kind: str = "application/json") -> None:
        data = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def taking(hub: PushHub) -> Iterator[PushHub]:
    """Serve a hub on loopback."""
    with answering(_Handler, hub=hub) as hub.url:
        yield hub
