"""A workspace's reports on the address of its own Prefect server, and a fence around that server's pages.

A report's address holds a ticket, made with the server's key: who has not seen the page that links to it cannot guess it.
The fence is a content security policy: a page that this server sends makes a browser ask nobody but this server.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from pathlib import Path

from starlette.responses import FileResponse, PlainTextResponse, Response

from tinyllava_core.data.web.door import Inside, Message, Receive, Send

BEGIN = "/report/"
# Prefect's pages, and whom they may ask: 'self' is only the one of these names that the browser was given.
FENCE = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'self'; "
    "connect-src 'self' http://127.0.0.1:{port} http://localhost:{port} ws://127.0.0.1:{port} ws://localhost:{port}"
)
REPORT_FENCE = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"


def place(key: str, fingerprint: str) -> str:
    """Give the address of a report on its workspace's server, whatever port that listens on."""
    ticket = hmac.new(key.encode(), f"report {fingerprint}".encode(), hashlib.sha256).hexdigest()[:32]
    return f"{BEGIN}{fingerprint}/{ticket}"


class Reports:
    """An ASGI application that serves reports, and lets the server inside answer the rest, fenced."""

    def __init__(self, inside: Inside, workspace: Path, key: str, port: int) -> None:
        self._inside, self._workspace, self._key = inside, workspace, key
        self._fence = FENCE.format(port=port).encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["path"].startswith(BEGIN):
            await self._report(scope["path"])(scope, receive, send)
            return

        async def fenced(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"content-security-policy", self._fence)]
            await send(message)

        await self._inside(scope, receive, fenced)

    def _report(self, path: str) -> Response:
        asked = re.fullmatch(f"{BEGIN}([0-9a-f]{{16}})/[0-9a-f]{{32}}", path)
        if asked is None or not hmac.compare_digest(path, place(self._key, asked[1])):
            return PlainTextResponse("no such report", status_code=404)
        page = self._workspace / "artifacts" / "report" / asked[1] / "report.html"
        if not page.is_file():
            return PlainTextResponse(f"{page} is not there any more", status_code=404)
        return FileResponse(page, headers={"Content-Security-Policy": REPORT_FENCE, "Referrer-Policy": "no-referrer"})
