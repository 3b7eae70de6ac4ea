"""Open http(s) URLs, and nothing else, over connections that may not drip: urllib, with a floor below every read.

A socket's timeout is one silence: a server that sends a byte now and then would hold a connection for ever, in its
headers already. Here a connection is given up when it brings too little for too long. It retries nothing.
"""

from __future__ import annotations

import functools
import http.client
import io
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import certifi

USER_AGENT = "tinyllava-pipelines (+https://arxiv.org/abs/2402.14289)"  # urllib's own is refused by many a host


class TooSlow(TimeoutError):
    """A connection brought too little for too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """What a connection must bring. Only waiting for the server counts, not what we do in between."""

    silence_s: float  # the longest without any byte
    slowest_bytes_s: float  # over each window
    window_s: float
    longest_s: float | None = None  # for the whole answer


def make_opener(floor: Floor) -> urllib.request.OpenerDirector:
    """Give an opener for http(s) that follows at most 10 redirects, to http(s) only; errors are raised as urllib does."""
    opener = urllib.request.OpenerDirector()
    opener.addheaders = [("User-Agent", USER_AGENT)]
    for handler in (
        Proxy(),
        urllib.request.UnknownHandler(),
        _Http(floor),
        _Https(floor),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def is_loopback(url: str) -> bool:
    """Tell whether a URL is on this machine."""
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")


class Proxy(urllib.request.ProxyHandler):
    """The proxy of the environment, which does not reach this machine's own servers."""

    def proxy_open(self, req: urllib.request.Request, proxy: str, type: str) -> Any:
        return None if is_loopback(req.full_url) else super().proxy_open(req, proxy, type)  # type: ignore[misc]


class _Http(urllib.request.HTTPHandler):
    def __init__(self, floor: Floor) -> None:
        super().__init__()
        self._floor = floor

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_above(http.client.HTTPConnection, self._floor), req)  # type: ignore[arg-type]


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, floor: Floor) -> None:
        super().__init__(context=_trusted())
        self._floor = floor

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_above(http.client.HTTPSConnection, self._floor), req, context=_trusted())  # type: ignore[arg-type]


@functools.cache
def _trusted() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())  # besides the system's own, which a small container lacks
    return context


def _above(kind: Callable[..., http.client.HTTPConnection], floor: Floor) -> Callable[..., http.client.HTTPConnection]:
    """Make connections of a kind whose answers are read with a floor."""

    def connect(host: str, **options: Any) -> http.client.HTTPConnection:
        connection = kind(host, **options)
        connection.response_class = functools.partial(_Answer, floor)  # type: ignore[assignment]
        return connection

    return connect


class _Answer(http.client.HTTPResponse):
    """An answer whose status line, headers and body come through a `_Floored` stream."""

    def __init__(self, floor: Floor, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp.close()
        self.fp = io.BufferedReader(_Floored(sock, floor), 1 << 16)


class _Floored(io.RawIOBase):
    """The bytes of a socket. Raises TimeoutError on a long silence, TooSlow where they come below the floor."""

    def __init__(self, sock: socket.socket, floor: Floor) -> None:
        self._sock, self._floor = sock, floor
        self._hold = sock.makefile("rb", buffering=0)  # keeps the socket open until this stream is closed
        self._silent_s = self._window_s = self._whole_s = 0.0
        self._window_bytes = 0

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            self._hold.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        floor = self._floor
        while True:
            left = min(floor.silence_s - self._silent_s, floor.window_s - self._window_s)
            if floor.longest_s is not None:
                left = min(left, floor.longest_s - self._whole_s)
            self._sock.settimeout(max(left, 0.001))
            began = time.monotonic()
            try:
                count: int | None = self._sock.recv_into(buffer)
            except TimeoutError:
                count = None
            waited = time.monotonic() - began
            self._silent_s = self._silent_s + waited if count is None else 0.0
            self._window_s += waited
            self._whole_s += waited
            self._window_bytes += count or 0
            if count == 0:
                return 0
            self._check()
            if count is not None:
                return count

    def _check(self) -> None:
        floor = self._floor
        if self._silent_s >= floor.silence_s:
            raise TimeoutError(f"timed out: no byte for {floor.silence_s:g} s")
        if floor.longest_s is not None and self._whole_s >= floor.longest_s:
            raise TooSlow(f"timed out: not done in {floor.longest_s:g} s")
        if self._window_s >= floor.window_s:
            if self._window_bytes < floor.slowest_bytes_s * self._window_s:
                raise TooSlow(f"timed out: only {self._window_bytes} bytes in {self._window_s:.1f} s")
            self._window_s, self._window_bytes = 0.0, 0
