"""Small copies of pictures for people to look at: as JPEG, and as an address that holds a picture whole. It judges none."""

from __future__ import annotations

import io
from base64 import b64encode
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from tinyllava_core.data.files.places import Piece


def small(found: Path | Piece | None, edge: int, quality: int) -> bytes | None:
    """Make a JPEG of a picture, its longer edge at most `edge` pixels; None if it is gone or is none."""
    if found is None:
        return None
    try:
        return small_of(found.read_bytes(), edge, quality)
    except OSError:
        return None


def small_of(data: bytes, edge: int, quality: int) -> bytes | None:
    """Make a JPEG of a picture's bytes; None if they are none."""
    try:
        with Image.open(io.BytesIO(data)) as opened:
            opened.draft("RGB", (edge, edge))  # a JPEG is read at half, a quarter or an eighth of its size
            picture = opened.convert("RGB")
    except (OSError, UnidentifiedImageError):
        return None
    picture.thumbnail((edge, edge))
    picture.save(buffer := io.BytesIO(), "JPEG", quality=quality)
    return buffer.getvalue()


def inline(picture: bytes, kind: str = "jpeg") -> str:
    """Write a picture's file as an address that holds it whole: a page with it needs no other file."""
    return f"data:image/{kind};base64,{b64encode(picture).decode()}"
