"""One attempt at a file over HTTP(S): from the end of what is here to the end of the file. It retries nothing.

The bytes are in `<file>.part`, with the server's validator beside them in `<file>.part.json`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import netrc
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import urlsplit

import httpx

from tinyllava_core.artifact import write_aside
from tinyllava_core.data.web.address import Refused
from tinyllava_core.data.web.opener import HTTP_FAULTS, MISLED, Floor, TooSlow, open_url
from tinyllava_core.data.web.patience import Patience, retry_after_s
from tinyllava_core.errors import BadInput
from tinyllava_core.room import no_room, require_free
from tinyllava_core.secret import without_secrets

UNSTATED_BYTES = 64 << 30  # the most of a file whose size neither the manifest nor the server states
_ROOM_STEP_BYTES = 1 << 20  # of such a file: as often it is asked whether there is room
_REPEAT = frozenset({408, 425, 429, 500, 502, 503, 504})  # statuses that may be gone in a while
_WEB_PAGE = (b"<!doctype html", b"<html")
OnBytes = Callable[[int, int], None]  # (bytes so far, bytes in all or 0 if unknown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One file that is fetched, and how."""

    url: str
    part: Path
    size_bytes: int | None
    on_bytes: OnBytes | None
    patience: Patience
    asked: frozenset[str]  # hosts that need not be public

    @property
    def name(self) -> str:
        """The URL as it may be shown."""
        return without_secrets(self.url)


class Trouble(Exception):
    """A fault that another attempt may cure."""

    def __init__(self, what: object, *, asked_s: float = 0.0, slow: bool = False) -> None:
        super().__init__(" ".join(str(what).split())[:300] or type(what).__name__)
        self.asked_s, self.slow = asked_s, slow
        self.nameless = isinstance(what, socket.gaierror)


def attempt(wanted: Wanted) -> None:
    """Read once, from the end of `part` on, to the end of the file. Raises Trouble if it ends early, BadInput as `fetch` does."""
    have, validator, noted = _resume_point(wanted.part)
    if have == noted:
        return
    headers = (
        {"Range": f"bytes={have}-"} | ({"If-Range": validator} if validator.isascii() and validator else {})
        if have
        else {}
    )
    floor = Floor(
        silence_s=wanted.patience.timeout_s,
        slowest_bytes_s=wanted.patience.slowest_bytes_s,
        window_s=wanted.patience.slow_window_s,
    )
    with contextlib.ExitStack() as stack:
        try:
            opening = open_url(wanted.url, floor, asked=wanted.asked, headers=headers, sign_in=_sign_in())
            answer = stack.enter_context(opening)
        except MISLED:
            raise BadInput(
                f"{wanted.name}: redirected in a circle, too often, or to what is no http(s) URL; correct the URL in the manifest"
            ) from None
        except Refused as error:
            raise BadInput(f"{wanted.name}: {error}") from None
        except HTTP_FAULTS as error:
            raise _trouble(error) from None
        _take(wanted, answer, have, noted)


def wrong_size(name: str, expected: int | None, found: str) -> BadInput:
    """Make the error for a file of another size than the manifest says."""
    return BadInput(f"{name}: expected {expected} bytes, {found}; correct `bytes` in the manifest or the URL")


def forget(part: Path) -> None:
    """Take away a half-fetched file and its note."""
    for path in (part, _note(part)):
        path.unlink(missing_ok=True)


def size_of(path: Path) -> int:
    """Give a file's size; 0 where there is none."""
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _sign_in() -> httpx.Auth | None:
    """Give the passwords of ~/.netrc, if a person has one: each goes to the host it is for, and to none it redirects to."""
    try:
        return httpx.NetRCAuth()
    except (FileNotFoundError, RuntimeError):  # no such file, or no home to have one in
        return None
    except (netrc.NetrcParseError, OSError, UnicodeDecodeError) as error:
        what = getattr(error, "msg", type(error).__name__)  # the whole text may hold a password
        raise BadInput(f"~/.netrc cannot be used: {what}; mend it, or take it away") from None


def _take(wanted: Wanted, answer: httpx.Response, have: int, noted: int | None) -> None:
    """Judge an answer by its head, and write its body behind the bytes that are here."""
    part = wanted.part
    if answer.status_code == 416:
        if answer.headers.get("Content-Range", "").strip() == f"bytes */{have}":
            return  # it is whole: its size was not known before
        forget(part)  # more here than there: the file became another one
        raise Trouble("the partial file did not fit the server's any more")
    if answer.status_code not in (200, 206):
        raise _not_a_file(wanted, answer)
    start, total = _extent(answer, have, noted, part)
    if wanted.size_bytes is not None and total is not None and total != wanted.size_bytes:
        raise wrong_size(wanted.name, wanted.size_bytes, f"the server offers {total}")
    expected = total if total is not None else wanted.size_bytes
    if expected is not None:
        require_free(part.parent, expected - start, wanted.name)
    got = _write(wanted, answer, start, total, expected)
    if expected is not None and got < expected:
        raise Trouble(f"the body ended at byte {got} of {expected}")


def _write(wanted: Wanted, answer: httpx.Response, start: int, total: int | None, expected: int | None) -> int:
    """Write a body behind the first `start` bytes of `part`; give the size it has then. Raises Trouble where it is cut."""
    part, most = wanted.part, UNSTATED_BYTES if expected is None else expected
    with part.open("r+b" if part.exists() else "wb") as file:
        file.seek(start)
        file.truncate()  # before the note: old bytes never stand under a new validator
        _write_note(part, answer.headers, total)
        asked_at = start
        for chunk in _chunks(answer, total):
            if file.tell() == 0 and _is_web_page(wanted.url, chunk):
                forget(part)
                raise BadInput(
                    f"{wanted.name}: the server sent a web page instead of the file (to sign in, or to accept a licence?); fetch "
                    "it by hand and name it by `path`, or correct the URL in the manifest"
                )
            if file.tell() + len(chunk) > most:
                forget(part)
                raise _too_much(wanted, most)
            if total is None and file.tell() >= asked_at:  # otherwise there was room for all of it
                require_free(part.parent, _ROOM_STEP_BYTES, wanted.name)
                asked_at = file.tell() + _ROOM_STEP_BYTES
            _add(file, chunk, wanted, total)
            if wanted.on_bytes:
                wanted.on_bytes(file.tell(), total or 0)
        return file.tell()


def _chunks(answer: httpx.Response, total: int | None) -> Iterator[bytes]:
    try:
        yield from answer.iter_raw()
    except HTTP_FAULTS as error:
        if isinstance(error, httpx.RemoteProtocolError) and total is not None:
            return  # the connection ended: whether too early, the number of bytes tells
        raise _trouble(error) from None


def _add(file: BinaryIO, chunk: bytes, wanted: Wanted, total: int | None) -> None:
    try:
        file.write(chunk)
        file.flush()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise no_room(wanted.part.parent, (total or 0) - file.tell(), wanted.name) from None


def _trouble(error: Exception) -> Trouble:
    return Trouble(error, slow=isinstance(error, TooSlow))


def _too_much(wanted: Wanted, most_bytes: int) -> BadInput:
    if wanted.size_bytes is not None:
        return wrong_size(wanted.name, wanted.size_bytes, "the server sends more")
    return BadInput(
        f"{wanted.name}: the server does not say how big it is, and sends more than {most_bytes} bytes; state its `bytes` in the "
        "manifest if it is so big"
    )


def _not_a_file(wanted: Wanted, answer: httpx.Response) -> Exception:
    """Make the error for a status that is not a file: a passing fault, or the user's matter."""
    status = answer.status_code
    if status in _REPEAT or status < 300:
        return Trouble(f"HTTP status {status}", asked_s=retry_after_s(answer.headers.get("Retry-After")))
    if 300 <= status < 400:
        return BadInput(f"{wanted.name}: redirected to nowhere (HTTP status {status}); correct the URL in the manifest")
    reason = answer.reason_phrase
    return BadInput(
        f"{wanted.name}: the server answered HTTP status {status} ({reason}); correct the URL in the manifest"
    )


def _is_web_page(url: str, head: bytes) -> bool:
    wanted = PurePosixPath(urlsplit(url).path).suffix.lower() in (".html", ".htm")
    return not wanted and head[:200].lstrip().lower().startswith(_WEB_PAGE)


def _extent(answer: httpx.Response, have: int, noted: int | None, part: Path) -> tuple[int, int | None]:
    """Give the first byte of this answer's body and the size of the whole file (None: the server does not say)."""
    if answer.status_code == 206:
        span, _, of = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        total = _number(of)
        if span.partition("-")[0] != str(have) or (noted is not None and total not in (None, noted)):
            forget(part)
            raise Trouble(
                f"asked for bytes from {have} on of {noted or '?'}, got {span or 'an unknown range'} of {of or '?'}"
            )
        return have, total
    return 0, _number(answer.headers.get("Content-Length", ""))


def _number(text: str) -> int | None:
    """Read a header's number of bytes; None where it is none. A header may hold `²`, which Python's isdigit takes for a digit."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _resume_point(part: Path) -> tuple[int, str, int | None]:
    """Give the bytes that are here already, the validator they came with, and the size that was told with them."""
    note = _note(part)
    if not part.exists() or not note.exists():
        forget(part)
        return 0, "", None
    noted = json.loads(note.read_text())
    return size_of(part), noted["validator"], noted["size_bytes"]


def _write_note(part: Path, headers: httpx.Headers, total: int | None) -> None:
    """Leave beside `part` what a later call needs to go on with the same file, and no other."""
    tag = headers.get("ETag", "")
    validator = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")
    write_aside(_note(part), json.dumps({"validator": validator, "size_bytes": total}))


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")
