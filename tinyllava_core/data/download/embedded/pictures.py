"""A tar that takes pictures out of rows: each once, its bytes as they are, and a path that says where in the tar it lies.

There is no file for each picture and no index: `ai2d/train-0.tar/1536-20480.jpg` is 20,480 bytes from byte 1,536 on
(data/files/places.py reads it so). It judges no picture; `inspect` does.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tinyllava_core.artifact import aside_of
from tinyllava_core.data.files.places import piece_name
from tinyllava_core.data.files.tar import TarWriter
from tinyllava_core.durable import publish

_BEGINNINGS = ((b"\xff\xd8\xff", ".jpg"), (b"\x89PNG", ".png"), (b"GIF8", ".gif"), (b"BM", ".bmp"), (b"II*\0", ".tif"))
_BASE64 = ("/9j/", "iVBORw0KGgo", "R0lGOD", "UklGR")  # how JPEG, PNG, GIF and WebP begin in it
_SHORTEST = 200  # characters; a shorter text is a word that happens to begin so


class PictureTar:
    """The pictures of one file of rows."""

    def __init__(self, path: Path, inner: str) -> None:
        """`inner`: the tar's path as the records will name it."""
        self._path, self._aside, self._inner = path, aside_of(path), inner
        self._tar = TarWriter(self._aside)
        self._known: dict[bytes, str] = {}
        self.num_pictures = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tar.__exit__(kind, error, trace)
        if kind is None:
            publish(self._aside, self._path)
        else:
            self._aside.unlink(missing_ok=True)

    def add(self, data: bytes) -> str:
        """Take one picture -> its path. The same bytes are stored once."""
        digest = hashlib.sha256(data).digest()
        if digest not in self._known:
            ending = _ending(data)
            offset = self._tar.add(f"{self.num_pictures:09d}{ending}", data)
            self._known[digest] = f"{self._inner}/{piece_name(offset, len(data), ending)}"
            self.num_pictures += 1
        return self._known[digest]


def taken_out(value: Any, add: Callable[[bytes], str]) -> Any:
    """Give a row's value with every picture in it, at any depth, replaced by the path that `add` gives for it.

    A picture is bytes; an object of `bytes` and `path`, as the `datasets` library stores it; a data: URL; or base64
    that begins as a picture does. Without bytes, an object's own path stands for it.
    """
    if isinstance(value, bytes):
        return add(value)
    if isinstance(value, str):
        data = _decoded(value)
        return value if data is None else add(data)
    if isinstance(value, list):
        return [taken_out(one, add) for one in value]
    if isinstance(value, dict):
        if "bytes" in value and value.keys() <= {"bytes", "path"}:
            data = value["bytes"]
            if data is None or isinstance(data, bytes):
                return value.get("path") if data is None else add(data)
        return {key: taken_out(one, add) for key, one in value.items()}
    return value


def _decoded(text: str) -> bytes | None:
    """Give the bytes that a text stands for; None if it is a text. What is broken comes as it is, for `inspect` to name."""
    if text.startswith("data:image/"):
        head, _, body = text.partition(",")
        try:
            return base64.b64decode(body) if head.endswith(";base64") else body.encode()
        except (binascii.Error, ValueError):
            return body.encode(errors="replace")
    if len(text) >= _SHORTEST and text.startswith(_BASE64):
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            return None
    return None


def _ending(data: bytes) -> str:
    if data[8:12] == b"WEBP":
        return ".webp"
    return next((ending for mark, ending in _BEGINNINGS if data.startswith(mark)), ".jpg")
