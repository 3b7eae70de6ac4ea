"""Serve the toy world on loopback, so that the default recipe downloads its data as every other recipe does.

It answers byte ranges, so a broken download can go on. It is no server for anybody else: 127.0.0.1 only.
"""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from filelock import FileLock

from tinyllava_core.toyworld.build import VERSION, build


@contextmanager
def serving(cache: Path) -> Iterator[str]:
    """Give the base URL (no slash at its end) of the toy world, built once under `cache` and served until the exit."""
    root = built(cache)
    server = _Server(("127.0.0.1", 0), partial(_Handler, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def built(cache: Path) -> Path:
    """Give the folder of the toy world under `cache`: found, or written aside and renamed. Two callers: one writes."""
    root = cache / f"toyworld-{VERSION}"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f".{root.name}.lock"):
        if not root.is_dir():
            aside = cache / f".{root.name}.partial"
            shutil.rmtree(aside, ignore_errors=True)
            build(aside)
            aside.rename(root)
    return root


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # img2dataset opens many connections at once

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent: a client that went away is the client's matter."""


class _Handler(SimpleHTTPRequestHandler):
    """Files of one folder, with single byte ranges (RFC 9110, 14.2) and no listing."""

    protocol_version = "HTTP/1.1"
    _rest: int | None = None  # bytes of the range still to be sent; None: the whole file

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent."""

    def list_directory(self, path: Any) -> None:
        """Refuse a folder."""
        self.send_error(HTTPStatus.NOT_FOUND)

    def send_head(self) -> Any:
        """Open the file at the start of the asked range and send the headers; None after an error."""
        self._rest = None
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        if asked is None or asked.groups() == ("", "") or not path.is_file():
            return super().send_head()
        size = path.stat().st_size
        if asked[1]:
            start, stop = int(asked[1]), min(int(asked[2] or size) + 1, size)
        else:
            start, stop = max(size - int(asked[2]), 0), size
        if start >= stop:
            self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        self.send_response(HTTPStatus.PARTIAL_CONTENT)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        file = path.open("rb")
        file.seek(start)
        self._rest = stop - start
        return file

    def end_headers(self) -> None:
        """Say that ranges are understood."""
        self.send_header("Accept-Ranges", "bytes")
        super().end_headers()

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """Send the file, or as much of it as the range asks for."""
        if self._rest is None:
            shutil.copyfileobj(source, outputfile)
            return
        while self._rest > 0 and (chunk := source.read(min(self._rest, 1 << 16))):
            outputfile.write(chunk)
            self._rest -= len(chunk)
