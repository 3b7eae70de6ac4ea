"""Pictures made worse on purpose: blur, noise, JPEG, rotation, crop, each at five severities. Pillow and numpy only.

A picture's corruption hangs on its name, the corruption and the severity, and on nothing else: every model, every training
seed and every process is shown the very same pixels, so that answers can be compared question by question.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

# H height, W width, S shorter side
Picture = NDArray[np.uint8]  # [H, W, 3]
SEED = 0

# Strengths of severities 1 to 5. Source: ImageNet-C, `make_imagenet_c.py` (arXiv 1903.12261), for 224 pixels: Gaussian blur
# (standard deviation in pixels), Gaussian noise (of pixels in 0..1), JPEG compression (quality).
BLUR = (1.0, 2.0, 3.0, 4.0, 6.0)
NOISE = (0.08, 0.12, 0.18, 0.26, 0.38)
JPEG = (25, 18, 15, 10, 7)
SIDE = 224  # of their pictures: blur and the grain of noise grow with the shorter side, as seen by an encoder that shrinks it
# Ours: degrees to either side, and the part of each side that is kept.
ROTATE = (5, 10, 20, 40, 80)
CROP = (0.9, 0.8, 0.7, 0.6, 0.5)


def corrupt(picture_HW3: Picture, name: str, corruption: str, severity: int, fill: tuple[int, int, int]) -> Picture:
    """Corrupt a decoded picture -> [H, W, 3], of its own size but for a crop. `fill`: the colour behind a rotated one."""
    seed = hashlib.sha256(f"{SEED} {corruption} {severity} {name}".encode()).digest()
    generator = np.random.default_rng(int.from_bytes(seed[:8], "big"))
    if corruption == "rotate":
        return _rotate(picture_HW3, severity, generator, fill)
    return _BY_NAME[corruption](picture_HW3, severity, generator)


def _blur(picture_HW3: Picture, severity: int, _: np.random.Generator) -> Picture:
    radius = BLUR[severity - 1] * min(picture_HW3.shape[:2]) / SIDE
    return np.asarray(Image.fromarray(picture_HW3).filter(ImageFilter.GaussianBlur(radius)))


def _noise(picture_HW3: Picture, severity: int, generator: np.random.Generator) -> Picture:
    height, width = picture_HW3.shape[:2]
    grain = max(1, round(min(height, width) / SIDE))  # pixels
    drawn = generator.standard_normal((-(-height // grain), -(-width // grain), 3), dtype=np.float32)
    drawn_HW3 = drawn.repeat(grain, axis=0).repeat(grain, axis=1)[:height, :width]
    noisy_HW3 = picture_HW3 + 255 * NOISE[severity - 1] * drawn_HW3
    return np.rint(noisy_HW3.clip(0, 255)).astype(np.uint8)


def _jpeg(picture_HW3: Picture, severity: int, _: np.random.Generator) -> Picture:
    buffer = io.BytesIO()
    Image.fromarray(picture_HW3).save(buffer, "JPEG", quality=JPEG[severity - 1])
    with Image.open(buffer) as opened:
        return np.array(opened.convert("RGB"))


def _rotate(picture_HW3: Picture, severity: int, generator: np.random.Generator, fill: tuple[int, int, int]) -> Picture:
    degrees = ROTATE[severity - 1] * generator.choice((-1, 1))
    turned = Image.fromarray(picture_HW3).rotate(float(degrees), Image.Resampling.BICUBIC, fillcolor=fill)
    return np.array(turned)


def _crop(picture_HW3: Picture, severity: int, generator: np.random.Generator) -> Picture:
    height, width = picture_HW3.shape[:2]
    kept = [max(1, round(CROP[severity - 1] * side)) for side in (height, width)]
    top, left = (int(generator.integers(0, side - mine + 1)) for side, mine in zip((height, width), kept, strict=True))
    return np.ascontiguousarray(picture_HW3[top : top + kept[0], left : left + kept[1]])


_BY_NAME: dict[str, Callable[[Picture, int, np.random.Generator], Picture]] = {
    "blur": _blur,
    "noise": _noise,
    "jpeg": _jpeg,
    "crop": _crop,
}
