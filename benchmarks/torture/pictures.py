"""Mutated pictures: refused under a reason, or the announced bytes and the same pixels for training and for asking."""

from __future__ import annotations

import io
import random
from hashlib import sha256

import numpy as np
from PIL import Image

from benchmarks.torture.mutate import mutated
from tinyllava_core.data.inspect.decode import decode, decode_stranger
from tinyllava_core.data.inspect.picture import judge
from tinyllava_core.data.inspect.repair import FORMATS, repaired
from tinyllava_core.errors import BadInput
from tinyllava_core.settings.inspect import Inspect

LIMITS = Inspect(max_pixels=4_000_000)


def pictures() -> list[tuple[str, bytes]]:
    """One picture of each format and way to hold colours that is read."""
    chance = np.random.default_rng(7)
    colour = Image.fromarray(chance.integers(0, 256, (24, 32, 3), np.uint8))
    grey16 = Image.fromarray(chance.integers(0, 65536, (24, 32)).astype(np.uint16))
    clear = colour.copy()
    clear.putalpha(colour.convert("L"))
    frames = [colour.rotate(turn) for turn in (90, 180)]
    ways: list[tuple[str, Image.Image, dict[str, object]]] = [
        ("JPEG", colour, {}),
        ("JPEG", colour, {"progressive": True}),
        ("JPEG", colour.convert("CMYK"), {}),
        (
            "JPEG",
            colour.convert("L"),
            {"exif": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"},
        ),
        ("PNG", colour, {}),
        ("PNG", clear, {}),
        ("PNG", grey16, {}),
        ("PNG", colour.convert("P"), {"transparency": 3}),
        ("WEBP", clear, {"lossless": True}),
        ("WEBP", colour, {}),
        ("GIF", colour.convert("P"), {"save_all": True, "append_images": frames}),
        ("BMP", colour, {}),
        ("TIFF", colour, {"compression": "tiff_lzw"}),
        ("TIFF", grey16, {"save_all": True, "append_images": [grey16]}),
        ("PPM", colour, {}),
        ("JPEG2000", colour, {}),
        ("ICO", clear, {}),
        ("TGA", clear, {}),
    ]
    made = []
    for kind, image, how in ways:
        assert kind in FORMATS
        buffer = io.BytesIO()
        image.save(buffer, kind, **how)
        made.append((f"a.{kind.lower()}", buffer.getvalue()))
    return made


def try_pictures(chance: random.Random, seeds: list[tuple[str, bytes]] = pictures()) -> str:  # noqa: B008
    """A picture is good and then gives the bytes that were announced and the same pixels to training and asking, or has a reason."""
    name, data = chance.choice(seeds)
    data = mutated(data, chance)
    found = judge(data, name, LIMITS)
    if found.reason is not None:
        assert "\n" not in found.detail
        try:
            decode_stranger(data, name, LIMITS)
        except BadInput:
            return found.reason
        raise AssertionError(f"asking takes what inspection drops: {found.reason}: {found.detail}")
    held = repaired(data, found.repairs)
    assert found.repaired_sha256 in (None, sha256(held).hexdigest()), "other bytes than were announced"
    shown = decode(held)
    assert shown.shape == (found.height, found.width, 3), f"{shown.shape} is not {found.height} x {found.width}"
    assert np.array_equal(shown, decode_stranger(data, name, LIMITS)), "training and asking see other pixels"
    return "good"
