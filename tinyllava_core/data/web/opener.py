"""Open http(s) URLs, and nothing else: httpx, on connections that may not drip and lead only where they may.

A timeout is one silence: a server that sends a byte now and then would hold a connection for ever, in its headers
already. Here a connection is given up when it brings too little for too long. It retries nothing.

Servers that a person named to be told something (a judge, a catalogue) are sent JSON in the same way.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import socket
import ssl
import time
import urllib.request
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import certifi
import httpcore
import httpx

from tinyllava_core.data.web.address import addresses, refuse_private
from tinyllava_core.errors import BadInput

logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells each URL whole, with its signature
USER_AGENT = "tinyllava-pipelines (+https://arxiv.org/abs/2402.14289)"  # a library's own is refused by many a host
# a compressed transfer has no byte ranges, and no size before it has come
_HEADERS = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}
_MOST_REDIRECTS = 10
_PIECE_BYTES = 4096  # of what is sent, where sending has a limit of time: how much goes to the socket at once
_OWN = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # each names an authority; the first is OpenSSL's own
HTTP_FAULTS = (OSError, httpx.HTTPError)  # what opening a URL and reading from it may raise
# of these, what no further attempt cures: a circle of redirects, or one to what is no http(s) URL
MISLED = (httpx.TooManyRedirects, httpx.UnsupportedProtocol, httpx.InvalidURL)


class TooSlow(TimeoutError):
    """A connection brought too little for too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """What a connection must bring. Only waiting for the server counts, not what we do in between."""

    silence_s: float  # the longest without any byte
    slowest_bytes_s: float  # over each window
    window_s: float
    longest_s: float | None = None  # for the whole answer


@contextlib.contextmanager
def open_url(
    url: str,
    floor: Floor,
    *,
    asked: Collection[str] = (),
    headers: Mapping[str, str] | None = None,
    sign_in: httpx.Auth | None = None,
) -> Iterator[httpx.Response]:
    """Ask for an http(s) URL, following at most 10 redirects, and give the answer with its body unread, whatever its status.

    `asked`: as in `addresses`. Raises one of HTTP_FAULTS (among them Refused and TooSlow) or of MISLED; so does reading.
    """
    # one client an answer: what a server gives it to remember ends with the chain of redirects
    with (
        httpx.Client(
            transport=_Transport(floor, asked),
            headers=_HEADERS,
            timeout=floor.silence_s,
            follow_redirects=True,
            max_redirects=_MOST_REDIRECTS,
            auth=sign_in,
            trust_env=False,  # the environment's proxy: see proxy_of
        ) as client,
        client.stream("GET", url, headers=headers) as answer,
    ):
        yield answer


@contextlib.contextmanager
def post(url: str, body: bytes, *, longest_s: float, key: str | None = None) -> Iterator[httpx.Response]:
    """Send JSON to a server that a person named, with its key -> the answer, whatever its status, its body unread.

    Any address may be meant. No redirect is followed: what is sent, and the key, are for this server alone. Sending and reading
    wait for `longest_s` at most, together. Raises one of HTTP_FAULTS or of MISLED; so does reading.
    """
    floor = Floor(silence_s=longest_s, slowest_bytes_s=0, window_s=longest_s, longest_s=longest_s)
    headers = {**_HEADERS, "Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    asked = {httpx.URL(url).host, httpx.URL(url).raw_host.decode()}
    with (
        httpx.Client(transport=_Transport(floor, asked), timeout=longest_s, trust_env=False) as client,
        client.stream("POST", url, content=body, headers=headers) as answer,
    ):
        yield answer


def key_of(variable: str) -> str | None:
    """Give the key that the environment holds for such a server. Raises BadInput, without it, where no header can carry it."""
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise BadInput(f"{variable}: holds a letter that is no ASCII, or a line end; set it to the key alone")
    return key or None


def no_answer(error: Exception, longest_s: float) -> str:
    """Say what one of HTTP_FAULTS or of MISLED means for a server that was sent something, after its name."""
    if isinstance(error, (TimeoutError, httpx.TimeoutException)):
        return f"does not answer within {longest_s:g} s"
    told = " ".join(str(error).split())[:200]
    if isinstance(error, (httpx.ConnectError, ConnectionError, socket.gaierror)) and "SSL" not in told:
        return "cannot be reached"
    own = f"; {_OWN[0]} names an authority of your own" if "CERTIFICATE_VERIFY" in told else ""
    return f"gives no answer ({told or type(error).__name__}{own})"


def proxy_of(url: httpx.URL | str) -> str | None:
    """Give the environment's proxy for a URL; None for this machine's own servers, which it does not reach."""
    url = httpx.URL(url)
    if url.host in ("127.0.0.1", "localhost", "::1") or urllib.request.proxy_bypass(url.host):
        return None
    named = urllib.request.getproxies()
    proxy = named.get(url.scheme) or named.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy  # as curl reads it


class _Transport(httpx.BaseTransport):
    """Sends each request of a chain of redirects where it may go: straight, or through the environment's proxy."""

    def __init__(self, floor: Floor, asked: Collection[str]) -> None:
        self._floor, self._asked = floor, asked
        self._open = contextlib.ExitStack()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        proxy, asked = proxy_of(request.url), self._asked
        if proxy:
            port = request.url.port or (443 if request.url.scheme == "https" else 80)
            refuse_private(request.url.host, port, self._asked)
            asked = {httpx.URL(proxy).host}  # the connection goes there, and a person said so
        try:
            sender = httpx.HTTPTransport(verify=_trusted(), proxy=proxy)
        except (ImportError, ValueError) as error:  # SOCKS without its package; no proxy's scheme
            raise BadInput(f"the environment's proxy {proxy}: expected one that speaks http ({error})") from None
        assert hasattr(sender._pool, "_network_backend"), "httpx has no parameter for it; another release, another way"
        sender._pool._network_backend = _Network(self._floor, asked)
        answer = self._open.enter_context(sender).handle_request(request)
        if not answer.has_redirect_location:
            return answer
        answer.close()  # httpx would read the body of a redirect whole, into memory, however much comes
        return httpx.Response(answer.status_code, headers=answer.headers, stream=httpx.ByteStream(b""))

    def close(self) -> None:
        self._open.close()


@functools.cache
def _trusted() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())  # besides the system's own, which a small container lacks
    for name in _OWN[1:]:
        if place := os.environ.get(name):
            if not Path(place).exists():
                raise BadInput(f"{name}={place}: no such file; name the certificates of your authority, or unset it")
            context.load_verify_locations(**{"capath" if Path(place).is_dir() else "cafile": place})
    return context


class _Network(httpcore.NetworkBackend):
    """Connects to the addresses that were judged, and to no name: between the two nothing is looked up again."""

    def __init__(self, floor: Floor, asked: Collection[str]) -> None:
        self._floor, self._asked, self._tcp = floor, asked, httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        *others, last = addresses(host, port, self._asked)
        for address in others:
            with contextlib.suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return _Floored(
                    self._tcp.connect_tcp(address, port, timeout, local_address, socket_options), self._floor
                )
        return _Floored(self._tcp.connect_tcp(last, port, timeout, local_address, socket_options), self._floor)


class _Floored(httpcore.NetworkStream):
    """A connection whose bytes may not drip. Raises TimeoutError on a long silence, TooSlow where they come below the floor."""

    def __init__(self, stream: httpcore.NetworkStream, floor: Floor) -> None:
        self._stream, self._floor = stream, floor
        self._silent_s = self._window_s = self._whole_s = 0.0
        self._window_bytes = 0

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        floor = self._floor
        while True:
            left = min(floor.silence_s - self._silent_s, floor.window_s - self._window_s)
            if floor.longest_s is not None:
                left = min(left, floor.longest_s - self._whole_s)
            began = time.monotonic()
            try:
                data = self._stream.read(max_bytes, max(left, 0.001))
            except httpcore.ReadTimeout:
                data = None
            waited = time.monotonic() - began
            self._silent_s = self._silent_s + waited if data is None else 0.0
            self._window_s += waited
            self._whole_s += waited
            self._window_bytes += len(data or b"")
            if data == b"":
                return data
            self._check()
            if data is not None:
                return data

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

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        longest_s = self._floor.longest_s
        if longest_s is None:
            self._stream.write(buffer, timeout)
            return
        for start in range(0, len(buffer), _PIECE_BYTES):  # one timeout for all of it would be one for each byte taken
            began = time.monotonic()
            self._stream.write(buffer[start : start + _PIECE_BYTES], max(longest_s - self._whole_s, 0.001))
            self._whole_s += time.monotonic() - began
            self._check()

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Floored(self._stream.start_tls(ssl_context, server_hostname, timeout), self._floor)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
