"""A workspace's reports and loss curves on the address of its own Prefect server, and a fence around that server's pages.

An address of theirs holds a ticket, made with the server's key: who has not seen the page that links to it cannot guess it.
The fence is a content security policy: a page that this server sends makes a browser ask nobody but this server.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from pathlib import Path

from starlette.responses import FileResponse, PlainTextResponse, Response

from tinyllava_core.data.web.door import Inside, Message, Receive, Send
from tinyllava_core.results import TRAININGS

BEGIN = "/made/"
# Prefect's pages, and whom they may ask: 'self' is only the one of these names that the browser was given.
FENCE = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'self'; "
    "connect-src 'self' http://127.0.0.1:{port} http://localhost:{port} ws://127.0.0.1:{port} ws://localhost:{port}"
)
MADE_FENCE = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"


def place(key: str, stage: str, fingerprint: str) -> str:
    """Give the address of a report, or of a training's loss curve, on its workspace's server, whatever port that listens on."""
    ticket = hmac.new(key.encode(), f"{stage} {fingerprint}".encode(), hashlib.sha256).hexdigest()[:32]
    return f"{BEGIN}{stage}/{fingerprint}/{ticket}"


def drawn(stage: str, folder: Path) -> str:
    """Draw a training's loss curve as an SVG picture, however far it is."""
    from tinyllava_core.report.facts import curve
    from tinyllava_core.report.figures import alone, draw_curve

    return alone(draw_curve(curve(stage, folder)))


class Reports:
    """An ASGI application that serves reports and loss curves, and lets the server inside answer the rest, fenced."""

    def __init__(self, inside: Inside, workspace: Path, key: str, port: int) -> None:
        self._inside, self._workspace, self._key = inside, workspace, key
        self._fence = FENCE.format(port=port).encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["path"].startswith(BEGIN):
            answer = await asyncio.to_thread(self._made, scope["path"])
            await answer(scope, receive, send)
            return

        async def fenced(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"content-security-policy", self._fence)]
            await send(message)

        await self._inside(scope, receive, fenced)

    def _made(self, path: str) -> Response:
        asked = re.fullmatch(f"{BEGIN}(report|{'|'.join(TRAININGS)})/([0-9a-f]{{16}})/[0-9a-f]{{32}}", path)
        if asked is None or not hmac.compare_digest(path, place(self._key, asked[1], asked[2])):
            return PlainTextResponse("no such report or loss curve", status_code=404)
        stage, home = asked[1], self._workspace / "artifacts" / asked[1]
        folder = next((home / name for name in (asked[2], f".{asked[2]}.partial") if (home / name).is_dir()), None)
        if folder is None or (stage == "report" and not (folder / "report.html").is_file()):
            return PlainTextResponse(f"{home / asked[2]} is not there any more", status_code=404)
        headers = {"Content-Security-Policy": MADE_FENCE, "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
        if stage == "report":
            return FileResponse(folder / "report.html", headers=headers)
        return Response(drawn(stage, folder), media_type="image/svg+xml", headers=headers)
