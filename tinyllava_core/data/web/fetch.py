"""Fetch one file over HTTP(S): resumed by byte range, retried with back-off, checked. It does not know what is in it.

A file in a store (s3://, ...) comes through remote.py, and is checked in the same way.
The bytes grow in `<to>.part` (attempt.py); `to` appears by a rename.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from tinyllava_core.artifact import file_sha256
from tinyllava_core.data.files.archive import safe_path
from tinyllava_core.data.files.schemes import is_remote
from tinyllava_core.data.web import remote
from tinyllava_core.data.web.address import asked_by
from tinyllava_core.data.web.attempt import OnBytes, Trouble, Wanted, attempt, forget, size_of, wrong_size
from tinyllava_core.data.web.patience import Patience
from tinyllava_core.data.web.polite import turn
from tinyllava_core.durable import publish
from tinyllava_core.errors import BadInput
from tinyllava_core.room import require_free

_LONGEST_NAME = 60  # characters of at most four bytes each: room is left for `.part.json`


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """One file that was fetched."""

    size_bytes: int
    sha256: str


class NoHost(ConnectionError):
    """Nobody here knows the name of the host: mostly there is no network."""


def fetch(
    url: str,
    to: Path,
    *,
    sha256: str | None = None,
    size_bytes: int | None = None,
    on_bytes: OnBytes | None = None,
    patience: Patience | None = None,
    allow_hosts: Collection[str] = (),
) -> Fetched:
    """Bring `url` to the file `to`, going on with what an earlier, killed call left.

    `url` may be a store's, too. `allow_hosts`: hosts (or host:port) that need not be public; an address that `url` itself
    names need not be either. Raises BadInput if the server says that it does not have the file (404, 403, ...), redirects in
    a circle or to a private address, or sends a web page, if the disk is too small, or the file has another size or sha256
    than expected; ConnectionError if it cannot be had after all attempts.
    """
    if is_remote(url):
        return _copied(url, to, sha256, size_bytes, on_bytes)
    part = to.with_name(f"{to.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    wanted = Wanted(
        url=url,
        part=part,
        size_bytes=size_bytes,
        on_bytes=on_bytes,
        patience=patience or Patience(),
        asked=asked_by(url) | set(allow_hosts),
    )
    going_on = size_of(part) > 0
    if size_bytes is not None:
        require_free(part.parent, size_bytes - size_of(part), wanted.name)
    while True:
        resumed = _bring(wanted) or going_on
        found = file_sha256(part)
        if sha256 in (None, found):
            break
        forget(part)
        if not resumed:
            raise _wrong_sum(wanted.name, sha256, found)
        going_on = False  # two halves that do not fit may be the server's fault, or the kill's: once more, in one piece
    publish(part, to)
    forget(part)
    return Fetched(size_bytes=to.stat().st_size, sha256=found)


def file_name(url: str) -> str:
    """Give the name of the file behind a URL, as any folder can hold it."""
    name = unquote(urlsplit(url).path).rpartition("/")[2][-_LONGEST_NAME:]
    return name if safe_path(name) else "file"


def file_places(urls: Collection[str]) -> dict[str, str]:
    """Give each URL's file a place of its own in one folder: its name; where several share one, with the URL's folder, or a number.

    `.../train/a.json` and `.../val/a.json` become train/a.json and val/a.json; where the folders are the same too, 1/a.json and so on.
    """
    names = {url: file_name(url) for url in urls}
    longer = {url: f"{file_name(url.partition('?')[0].rpartition('/')[0])}/{name}" for url, name in names.items()}
    shared = {name for name, times in Counter(names.values()).items() if times > 1}
    alike = {PurePosixPath(one).name for one, times in Counter(longer.values()).items() if times > 1 or one[0] == "."}
    return {
        url: name if name not in shared else longer[url] if name not in alike else f"{number}/{name}"
        for number, (url, name) in enumerate(names.items(), 1)
    }


def _copied(url: str, to: Path, sha256: str | None, size_bytes: int | None, on_bytes: OnBytes | None) -> Fetched:
    """Copy a file out of a store; its library retries by itself."""
    size = remote.size(url)
    if size_bytes not in (None, size):
        raise wrong_size(url, size_bytes, f"the store has {size}")
    remote.copy_here(url, to, on_bytes)
    found = file_sha256(to)
    if sha256 not in (None, found):
        to.unlink()
        raise _wrong_sum(url, sha256, found)
    return Fetched(size_bytes=size, sha256=found)


def _bring(wanted: Wanted) -> bool:
    """Attempt until `part` is whole; tell whether it took several. Raises ConnectionError when the patience ends."""
    patience, failures, several = wanted.patience, 0, False
    while True:
        before, began = size_of(wanted.part), time.monotonic()
        try:
            with turn(wanted.url, connections=patience.connections_per_host, pause_s=patience.pause_s):
                attempt(wanted)
            return several
        except Trouble as trouble:
            have = size_of(wanted.part)
            # a server that sends a few bytes at each attempt must end too: only what is above the floor counts
            enough = have - before > patience.slowest_bytes_s * (time.monotonic() - began)
            failures = 1 if enough and not trouble.slow else failures + 1
            several = several or have > 0
            if failures >= (patience.nameless_attempts if trouble.nameless else patience.attempts):
                raise (NoHost if trouble.nameless else ConnectionError)(
                    f"{wanted.name}: gave up after {failures} attempts that brought hardly anything ({have} bytes are kept): "
                    f"{trouble}"
                ) from None
            time.sleep(patience.wait_s(failures, trouble.asked_s))


def _wrong_sum(name: str, expected: str | None, found: str) -> BadInput:
    return BadInput(
        f"{name}: wrong checksum: expected sha256 {expected}, found {found}; "
        "if the publisher changed the file, put the new sum into the manifest"
    )
