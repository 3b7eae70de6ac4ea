"""Fetch one file over HTTP(S): resumed by byte range, retried with back-off, checked. It does not know what is in it.

A file in a store (s3://, ...) comes through remote.py, and is checked in the same way.
The bytes grow in `<to>.part`, with the server's validator beside them in `<to>.part.json`; `to` appears by a rename.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from tinyllava_core.artifact import file_sha256, write_aside
from tinyllava_core.data.files.disk import no_room, require_free
from tinyllava_core.data.files.schemes import is_remote
from tinyllava_core.data.web import remote
from tinyllava_core.data.web.opener import Floor, TooSlow, make_opener
from tinyllava_core.data.web.patience import Patience, retry_after_s
from tinyllava_core.data.web.polite import turn
from tinyllava_core.errors import BadInput

_CHUNK = 1 << 16  # bytes
_REPEAT = frozenset({408, 425, 429, 500, 502, 503, 504})  # statuses that may be gone in a while
_WEB_PAGE = (b"<!doctype html", b"<html")
OnBytes = Callable[[int, int], None]  # (bytes so far, bytes in all or 0 if unknown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """One file that was fetched."""

    size_bytes: int
    sha256: str


class _Trouble(Exception):
    """A fault that another attempt may cure."""

    def __init__(self, what: object, *, asked_s: float = 0.0, slow: bool = False) -> None:
        super().__init__(" ".join(str(what).split())[:300] or type(what).__name__)
        self.asked_s, self.slow = asked_s, slow


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

    `url` may be a store's, too. Raises BadInput if the server says that it does not have the file (404, 403, ...), redirects in a circle or sends a
    web page, if the disk is too small, or the file has another size or sha256 than expected; ConnectionError if it cannot
    be had after all attempts.
    """
    if is_remote(url):
        return _copied(url, to, sha256, size_bytes, on_bytes)
    patience = patience or Patience()
    part = to.with_name(f"{to.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    going_on = _size(part) > 0
    if size_bytes is not None:
        require_free(part.parent, size_bytes - _size(part), url)
    while True:
        resumed = _bring(url, part, size_bytes, on_bytes, patience) or going_on
        found = file_sha256(part)
        if sha256 in (None, found):
            break
        _forget(part)
        if not resumed:
            raise _wrong_sum(url, sha256, found)
        going_on = False  # two halves that do not fit may be the server's fault, or the kill's: once more, in one piece
    part.rename(to)
    _forget(part)
    return Fetched(size_bytes=to.stat().st_size, sha256=found)


def _copied(url: str, to: Path, sha256: str | None, size_bytes: int | None, on_bytes: OnBytes | None) -> Fetched:
    """Copy a file out of a store; its library retries by itself."""
    size = remote.size(url)
    if size_bytes not in (None, size):
        raise BadInput(
            f"{url}: expected {size_bytes} bytes, the store has {size}; correct `bytes` in the manifest or the URL"
        )
    remote.copy_here(url, to, on_bytes)
    found = file_sha256(to)
    if sha256 not in (None, found):
        to.unlink()
        raise _wrong_sum(url, sha256, found)
    return Fetched(size_bytes=size, sha256=found)


def _wrong_sum(url: str, expected: str | None, found: str) -> BadInput:
    return BadInput(
        f"{url}: wrong checksum: expected sha256 {expected}, found {found}; "
        "if the publisher changed the file, put the new sum into the manifest"
    )


def _bring(url: str, part: Path, size_bytes: int | None, on_bytes: OnBytes | None, patience: Patience) -> bool:
    """Attempt until `part` is whole; tell whether it took several. Raises ConnectionError when the patience ends."""
    floor = Floor(
        silence_s=patience.timeout_s, slowest_bytes_s=patience.slowest_bytes_s, window_s=patience.slow_window_s
    )
    opener, failures, several = make_opener(floor), 0, False
    while True:
        before, began = _size(part), time.monotonic()
        try:
            with turn(url, connections=patience.connections_per_host, pause_s=patience.pause_s):
                _attempt(opener, url, part, size_bytes, on_bytes, patience.timeout_s)
            return several
        except _Trouble as trouble:
            have = _size(part)
            # a server that sends a few bytes at each attempt must end too: only what is above the floor counts
            enough = have - before > patience.slowest_bytes_s * (time.monotonic() - began)
            failures = 1 if enough and not trouble.slow else failures + 1
            several = several or have > 0
            if failures >= patience.attempts:
                raise ConnectionError(
                    f"{url}: gave up after {failures} attempts that brought hardly anything ({have} bytes are kept): {trouble}"
                ) from None
            time.sleep(patience.wait_s(failures, trouble.asked_s))


def _attempt(
    opener: urllib.request.OpenerDirector,
    url: str,
    part: Path,
    size_bytes: int | None,
    on_bytes: OnBytes | None,
    timeout_s: float,
) -> None:
    """Read once, from the end of `part` on, to the end of the file. Raises _Trouble if it ends early."""
    have, validator, noted = _resume_point(part)
    if have == noted:
        return
    headers = {"Accept-Encoding": "identity"}  # a compressed transfer has no byte ranges
    if have:
        headers |= {"Range": f"bytes={have}-"} | ({"If-Range": validator} if validator else {})
    try:
        response = opener.open(urllib.request.Request(url, headers=headers), timeout=timeout_s)
    except urllib.error.HTTPError as answer:
        with answer:
            if answer.code == 416 and answer.headers.get("Content-Range", "").strip() == f"bytes */{have}":
                return  # it is whole: its size was not known before
            if answer.code == 416:  # more here than there: the file became another one
                _forget(part)
                raise _Trouble("the partial file did not fit the server's any more") from None
            raise _refused(url, answer) from None
    except (OSError, http.client.HTTPException) as error:
        raise _Trouble(error, slow=isinstance(error, TooSlow)) from None
    with response:
        start, total = _extent(response, have, noted, part)
        if size_bytes is not None and total is not None and total != size_bytes:
            raise BadInput(
                f"{url}: expected {size_bytes} bytes, the server offers {total}; correct `bytes` in the manifest or the URL"
            )
        expected = total if total is not None else size_bytes
        if expected is not None:
            require_free(part.parent, expected - start, url)
        got = _read(url, response, part, start, total, on_bytes)
    if expected is not None and got < expected:
        raise _Trouble(f"the body ended at byte {got} of {expected}")
    if expected is not None and got > expected:
        _forget(part)
        raise BadInput(f"{url}: expected {expected} bytes, found {got}; correct `bytes` in the manifest or the URL")


def _read(
    url: str, response: http.client.HTTPResponse, part: Path, start: int, total: int | None, on_bytes: OnBytes | None
) -> int:
    """Write a body behind the first `start` bytes of `part`; give the size it has then, also where the body is cut."""
    with part.open("r+b" if part.exists() else "wb") as file:
        file.seek(start)
        file.truncate()  # before the note: old bytes never stand under a new validator
        _write_note(part, response.headers, total)
        while total is None or file.tell() < total:
            try:
                chunk = response.read1(_CHUNK)
            except (OSError, http.client.HTTPException) as error:
                file.flush()
                raise _Trouble(error, slow=isinstance(error, TooSlow)) from None
            if not chunk:
                break
            if file.tell() == 0 and _is_web_page(url, chunk):
                file.close()
                _forget(part)
                raise BadInput(
                    f"{url}: the server sent a web page instead of the file (to sign in, or to accept a licence?); fetch it "
                    "by hand and name it by `path`, or correct the URL in the manifest"
                )
            try:
                file.write(chunk)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                raise no_room(part.parent, (total or 0) - file.tell(), url) from None
            if on_bytes:
                on_bytes(file.tell(), total or 0)
        return file.tell()


def _refused(url: str, answer: urllib.error.HTTPError) -> Exception:
    """Make the error for a status that is not a file: a passing fault, or the user's matter."""
    if answer.code in _REPEAT:
        return _Trouble(f"HTTP status {answer.code}", asked_s=retry_after_s(answer.headers.get("Retry-After")))
    if 300 <= answer.code < 400:
        return BadInput(
            f"{url}: redirected in a circle, too often, or to what is no http(s) URL (HTTP status {answer.code}); correct the "
            "URL in the manifest"
        )
    return BadInput(
        f"{url}: the server answered HTTP status {answer.code} ({answer.reason}); correct the URL in the manifest"
    )


def _is_web_page(url: str, head: bytes) -> bool:
    wanted = PurePosixPath(urlsplit(url).path).suffix.lower() in (".html", ".htm")
    return not wanted and head[:200].lstrip().lower().startswith(_WEB_PAGE)


def _extent(response: http.client.HTTPResponse, have: int, noted: int | None, part: Path) -> tuple[int, int | None]:
    """Give the first byte of this answer's body and the size of the whole file (None: the server does not say)."""
    if response.status == 206:
        span, _, of = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        total = int(of) if of.isdigit() else None
        if span.partition("-")[0] != str(have) or (noted is not None and total not in (None, noted)):
            _forget(part)
            raise _Trouble(
                f"asked for bytes from {have} on of {noted or '?'}, got {span or 'an unknown range'} of {of or '?'}"
            )
        return have, total
    if response.status != 200:
        raise _Trouble(f"HTTP status {response.status}")
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _resume_point(part: Path) -> tuple[int, str, int | None]:
    """Give the bytes that are here already, the validator they came with, and the size that was told with them."""
    note = _note(part)
    if not part.exists() or not note.exists():
        _forget(part)
        return 0, "", None
    noted = json.loads(note.read_text())
    return _size(part), noted["validator"], noted["size_bytes"]


def _write_note(part: Path, headers: Message, total: int | None) -> None:
    """Leave beside `part` what a later call needs to go on with the same file, and no other."""
    tag = headers.get("ETag", "")
    validator = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")
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
