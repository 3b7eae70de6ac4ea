"""Fetch one file over HTTP(S): resumed by byte range, retried with back-off, checked. It does not know what is in it.

The bytes grow in `<to>.part`, with the server's validator beside them in `<to>.part.json`; `to` appears by a rename.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests
import urllib3

from tinyllava_core.artifact import file_sha256, write_aside
from tinyllava_core.errors import BadInput

_CHUNK = 1 << 16  # bytes
_REPEAT = frozenset({408, 425, 429, 500, 502, 503, 504})  # statuses that may be gone in a while
OnBytes = Callable[[int, int], None]  # (bytes so far, bytes in all or 0 if unknown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to go on with a server that does not answer well."""

    attempts: int = 6  # without one new byte in between
    first_wait_s: float = 1.0  # doubled after each attempt
    longest_wait_s: float = 60.0  # also for the server's own Retry-After
    timeout_s: float = 30.0  # of the connection, and of each silence while reading
    image_timeout_s: float = 10.0  # the same, for one image of a URL table
    image_retries: int = 2  # further attempts for one image, without a wait
    stall_s: float = 300.0  # a URL table is given up when nothing moves for so long


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """One file that was fetched."""

    size_bytes: int
    sha256: str


class _Trouble(Exception):
    """A fault that another attempt may cure."""

    def __init__(self, what: str, wait_s: float = 0.0) -> None:
        super().__init__(what)
        self.wait_s = wait_s


def fetch(
    url: str,
    to: Path,
    *,
    sha256: str | None = None,
    size_bytes: int | None = None,
    on_bytes: OnBytes | None = None,
    patience: Patience | None = None,
) -> Fetched:
    """Bring `url` to the file `to`, going on with what an earlier, killed call left.

    Raises BadInput if the server says that it does not have the file (404, 403, ...), or the file has another size or
    sha256 than expected; ConnectionError if it cannot be had after all attempts.
    """
    patience = patience or Patience()
    part = to.with_name(f"{to.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    with requests.Session() as session:
        if urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1"):
            session.trust_env = False  # a proxy of the environment does not reach this machine's own server
        failures, before = 0, _size(part)
        while True:
            try:
                _attempt(session, url, part, size_bytes, on_bytes, patience.timeout_s)
                break
            except (_Trouble, requests.RequestException, urllib3.exceptions.HTTPError) as trouble:
                failures = 1 if _size(part) > before else failures + 1
                before = _size(part)
                if failures >= patience.attempts:
                    raise ConnectionError(
                        f"{url}: gave up after {failures} attempts without a new byte ({before} bytes are kept): {_one_line(trouble)}"
                    ) from None
                wait = max(patience.first_wait_s * 2 ** (failures - 1), getattr(trouble, "wait_s", 0.0))
                time.sleep(min(wait, patience.longest_wait_s))
    found = file_sha256(part)
    if sha256 is not None and found != sha256:
        _forget(part)
        raise BadInput(
            f"{url}: wrong checksum: expected sha256 {sha256}, found {found}; "
            "if the publisher changed the file, put the new sum into the manifest"
        )
    part.rename(to)
    _forget(part)
    return Fetched(size_bytes=to.stat().st_size, sha256=found)


def _attempt(
    session: requests.Session, url: str, part: Path, size_bytes: int | None, on_bytes: OnBytes | None, timeout_s: float
) -> None:
    """Read once, from the end of `part` on, to the end of the file. Raises _Trouble if it ends early."""
    have, validator, whole = _resume_point(part)
    if whole:
        return
    headers = {"Accept-Encoding": "identity"}  # a compressed transfer has no byte ranges
    if have:
        headers |= {"Range": f"bytes={have}-"} | ({"If-Range": validator} if validator else {})
    with session.get(url, headers=headers, stream=True, timeout=timeout_s) as response:
        if response.status_code == 416:  # more here than there: the file became another one
            _forget(part)
            raise _Trouble("the partial file did not fit the server's any more")
        _refuse(url, response)
        start, total = _extent(response, have)
        if size_bytes is not None and total is not None and total != size_bytes:
            raise BadInput(
                f"{url}: expected {size_bytes} bytes, the server offers {total}; correct `bytes` in the manifest or the URL"
            )
        with part.open("r+b" if part.exists() else "wb") as file:
            file.seek(start)
            file.truncate()  # before the note: old bytes never stand under a new validator
            _write_note(part, response, total)
            response.raw.enforce_content_length = (
                False  # we count ourselves, and so keep the bytes of a body that is cut
            )
            while chunk := response.raw.read(_CHUNK, decode_content=False):
                file.write(chunk)
                if on_bytes:
                    on_bytes(file.tell(), total or 0)
            got = file.tell()
    expected = total if total is not None else size_bytes
    if expected is not None and got < expected:
        raise _Trouble(f"the body ended at byte {got} of {expected}")
    if expected is not None and got > expected:
        _forget(part)
        raise BadInput(f"{url}: expected {expected} bytes, found {got}; correct `bytes` in the manifest or the URL")


def _refuse(url: str, response: requests.Response) -> None:
    status = response.status_code
    if status in _REPEAT:
        wait = response.headers.get("Retry-After", "")
        raise _Trouble(f"HTTP status {status}", float(wait) if wait.isdigit() else 0.0)
    if status not in (200, 206):
        raise BadInput(
            f"{url}: the server answered HTTP status {status} ({response.reason}); correct the URL in the manifest"
        )


def _extent(response: requests.Response, have: int) -> tuple[int, int | None]:
    """Give the first byte of this answer's body and the size of the whole file (None: the server does not say)."""
    if response.status_code == 206:
        span, _, total = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        start = span.partition("-")[0]
        if start != str(have):
            raise _Trouble(f"asked for bytes from {have} on, got {span or 'an unknown range'}")
        return have, int(total) if total.isdigit() else None
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _resume_point(part: Path) -> tuple[int, str, bool]:
    """Give the bytes that are here already, the validator they came with, and whether they are all."""
    note = _note(part)
    if not part.exists() or not note.exists():
        _forget(part)
        return 0, "", False
    noted, have = json.loads(note.read_text()), _size(part)
    return have, noted["validator"], have == noted["size_bytes"]


def _write_note(part: Path, response: requests.Response, total: int | None) -> None:
    """Leave beside `part` what a later call needs to go on with the same file, and no other."""
    tag = response.headers.get("ETag", "")
    validator = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")
    write_aside(_note(part), json.dumps({"validator": validator, "size_bytes": total}))


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _forget(part: Path) -> None:
    for path in (part, _note(part)):
        path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
