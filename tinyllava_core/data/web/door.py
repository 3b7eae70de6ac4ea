"""The door of a server on this machine: whom it answers, by the `Host` and the `Origin` of what is asked. It serves nothing.

A page of any site may send requests to this machine's own servers, and a site whose name is made to point here may read
the answers as well. Such a request says where it comes from, or by which name it was sent: it is refused.
"""

from __future__ import annotations

import errno
import json
import socket
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import urlsplit

LOOPBACK = ("127.0.0.1", "localhost", "::1")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Inside = Callable[[Message, Receive, Send], Awaitable[None]]


class Door:
    """An ASGI application that lets through what its own pages and programs ask, and refuses the rest with 403."""

    def __init__(self, inside: Inside, names: Collection[str] | None = LOOPBACK) -> None:
        self._inside, self._names = inside, names  # names: the hosts that it answers as; None: any

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        fault = self.fault(scope) if scope["type"] in ("http", "websocket") else None
        if fault is None:
            await self._inside(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": fault[:100]})
        else:
            said = json.dumps({"error": fault}).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(said)).encode())]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": said})

    def fault(self, scope: Message) -> str | None:
        """Say why a request is refused, or None."""
        hosts, origins = _headers(scope, b"host"), _headers(scope, b"origin")
        if len(hosts) != 1 or len(origins) > 1:
            return "expected one Host header and at most one Origin header"
        host = _place(f"http://{hosts[0]}")
        if host is None or (self._names is not None and host[0] not in self._names):
            return f"asked as {hosts[0]!r}; this server answers as {', '.join(self._names or ())} only"
        if origins:
            origin = _place(origins[0])
            both = {host[0], origin[0]} if origin else set()
            if origin is None or origin[1] != host[1] or (len(both) > 1 and not both <= set(LOOPBACK)):
                return f"asked by a page of {origins[0]!r}; only this server's own pages may ask it"
        return None


def is_taken(host: str, port: int) -> bool:
    """Tell whether something listens at a port of this machine already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def _headers(scope: Message, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


def _place(url: str) -> tuple[str, int] | None:
    """Give the host and the port of a URL, or None if it has none."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    except ValueError:
        return None
    return (parts.hostname, port) if parts.hostname and parts.username is None else None
