"""Look at one image file once: its bytes hashed, its pixels decoded to the last one. It changes nothing."""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass

from PIL import Image

from tinyllava_core.data.archive import safe_path
from tinyllava_core.data.places import ImagePlaces
from tinyllava_core.data.reason import Reason

warnings.filterwarnings("ignore", module=r"PIL\b")  # big pictures, odd metadata: what is a fault comes as an exception


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What one image file is; what could not be found out is None."""

    path: str  # as the record names it
    sha256: str | None = None  # of the file's bytes
    width: int | None = None
    height: int | None = None
    format: str | None = None  # PIL's word for what it is, whatever its name says: JPEG, PNG, ...
    size_bytes: int | None = None
    reason: Reason | None = None  # None: good
    detail: str = ""


def look(images: ImagePlaces, path: str) -> Picture:
    """Read, hash and wholly decode the image that a record names; a fault comes back as its reason, never as an exception.

    A file that ends early is a fault: LLaVA's loader would train on its grey lower half (LOAD_TRUNCATED_IMAGES).
    """
    if not path:
        return Picture(path=path, reason=Reason.MISSING_IMAGE, detail="the path is empty")
    if safe_path(path) is None:
        return Picture(path=path, reason=Reason.IMAGE_OUTSIDE_ROOT, detail=f"{path!r:.200}")
    try:
        file = images.find(path)
        if file is None:
            detail = "no such file" if images.known(path) else "no image place has such a prefix"
            return Picture(path=path, reason=Reason.MISSING_IMAGE, detail=detail)
        data = file.read_bytes()
    except OSError as error:
        return Picture(path=path, reason=Reason.UNREADABLE_IMAGE, detail=_one_line(error))
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        width, height, kind = _decode(data)
    except Exception as error:  # PIL raises OSError, SyntaxError, ValueError, struct.error, ... on a stranger's bytes
        detail = _one_line(error) if data else "no bytes"
        return Picture(path=path, sha256=sha256, size_bytes=len(data), reason=Reason.UNREADABLE_IMAGE, detail=detail)
    return Picture(path=path, sha256=sha256, width=width, height=height, format=kind, size_bytes=len(data))


def _decode(data: bytes) -> tuple[int, int, str]:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image.width, image.height, image.format or "unknown"


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
