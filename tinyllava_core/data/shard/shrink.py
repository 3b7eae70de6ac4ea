"""Make an image's file smaller than a given side. What is small enough is left alone, to the byte."""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image

from tinyllava_core.data.inspect.repair import open_image

QUALITY = 95  # JPEG; the usual choice of data pipelines, img2dataset's default too


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrunk:
    """A smaller file, and how it came about."""

    data: bytes
    width: int
    height: int
    transform: str  # in words, for the index and the record's JSON


def shrunk(data: bytes, max_side: int) -> Shrunk | None:
    """Scale an image down so that its longer side is `max_side` pixels -> an RGB JPEG; None if it is no longer than that.

    Lanczos over the whole footprint of a new pixel (Pillow), so nothing aliases. Alpha is laid on white and EXIF rotation
    is not applied, as everywhere here. The bytes depend on the Pillow that made them, so they are the same on one
    installation only.
    """
    with open_image(data) as opened:
        width, height = opened.size
        if max(width, height) <= max_side:
            return None
        image = _rgb(opened)
    scale = max_side / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    file = io.BytesIO()
    image.resize(size, Image.Resampling.LANCZOS).save(file, "JPEG", quality=QUALITY)
    return Shrunk(
        data=file.getvalue(),
        width=size[0],
        height=size[1],
        transform=f"max_side {max_side}: {width}x{height} to {size[0]}x{size[1]}, JPEG q{QUALITY}",
    )


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)
    return image.convert("RGB")
