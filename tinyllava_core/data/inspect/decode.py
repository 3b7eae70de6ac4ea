"""The one decoder: an image file's bytes to pixels, in training and in asking. A stranger's bytes pass inspection first.

What training decodes has been inspected and mended, and lies in a shard; what is asked about (`ask`, `chat`, `evaluate`)
goes through the same judgement and the same repairs here, so the model sees the same pixels of the same file.
"""

from __future__ import annotations

import contextlib
import io
import threading
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image

from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.data.inspect.picture import NO_PLAIN_JPEG, is_plain_jpeg, judge, most_bytes
from tinyllava_core.data.inspect.repair import FORMATS, open_image, repaired
from tinyllava_core.errors import BadInput
from tinyllava_core.settings.inspect import Inspect

LIMITS = Inspect()


def decode(image: bytes, scratch: Scratch | None = None) -> np.ndarray:
    """Decode an image file -> [H, W, 3] uint8 RGB. Alpha is laid on white; EXIF rotation is not applied, as in the reference.

    `scratch`: memory that a JPEG is decoded into; the array is valid until it is used again.
    """
    if image[:2] == b"\xff\xd8":
        try:
            buffer = scratch.for_jpeg(image) if scratch else None
            return np.asarray(simplejpeg.decode_jpeg(image, colorspace="RGB", buffer=buffer))
        except NO_PLAIN_JPEG:
            pass  # what libjpeg-turbo refuses, Pillow judges
    opened = open_image(image)
    if opened.mode in ("RGBA", "LA", "PA") or "transparency" in opened.info:
        opened = opened.convert("RGBA")
        opened = Image.alpha_composite(Image.new("RGBA", opened.size, (255, 255, 255, 255)), opened)
    return np.array(opened.convert("RGB"))


def decode_named(whose: str, images: ImagePlaces, path: str) -> np.ndarray:
    """Decode a picture that a source or a benchmark names, as `decode_stranger` does. Raises BadInput if its file is gone, too."""
    found = images.look_up(path)
    if found is None:
        raise BadInput(f"{whose}: picture {path} is gone: {images.told()}; run its recipe again")
    return decode_stranger(found.read_bytes(), path)


def decode_stranger(image: bytes, name: str, limits: Inspect = LIMITS) -> np.ndarray:
    """Decode what somebody brings -> [H, W, 3] uint8 RGB. Raises BadInput, with its name, for what inspection would drop."""
    try:
        if is_plain_jpeg(image, limits):
            with contextlib.suppress(*NO_PLAIN_JPEG):  # what libjpeg-turbo refuses, inspection judges
                return np.asarray(simplejpeg.decode_jpeg(image, colorspace="RGB"))
        found = judge(image, name, limits)
        if found.reason is None:
            return decode(repaired(image, found.repairs))
        fault = f"{found.reason}: {found.detail}"
    except Exception as error:
        fault = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    raise BadInput(f"{name}: cannot be read as a picture: {fault}; expected JPEG, PNG or the like")


def size_of(image: bytes, name: str) -> tuple[int, int]:
    """Read a picture's (width, height) off its header. Raises BadInput, with its name, if it is none."""
    try:
        with Image.open(io.BytesIO(image), formats=FORMATS) as opened:
            return opened.size
    except Exception as error:
        fault = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise BadInput(f"{name}: cannot be read as a picture: {fault}; expected JPEG, PNG or the like") from None


def read_stranger(path: Path, limits: Inspect = LIMITS) -> bytes:
    """Read a picture's file, unless it is larger than any picture. Raises BadInput."""
    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    if (size := path.stat().st_size) > most_bytes(limits):
        raise BadInput(f"{path}: {size:,} bytes; expected a picture, of at most {most_bytes(limits):,}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror or error}") from None


class Scratch(threading.local):
    """Memory that a thread decodes into again and again: getting a megabyte anew costs a quarter of a decoding."""

    def __init__(self) -> None:
        self._bytes = np.empty(0, np.uint8)

    def for_jpeg(self, image: bytes) -> np.ndarray:
        """Give memory that is large enough. Raises ValueError if the header cannot be read."""
        height, width, *_ = simplejpeg.decode_jpeg_header(image)
        if len(self._bytes) < height * width * 3:
            self._bytes = np.empty(height * width * 3, np.uint8)
        return self._bytes
