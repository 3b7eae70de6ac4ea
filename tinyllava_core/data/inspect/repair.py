"""Mend the bytes of one image file: the same bytes and repairs give the same bytes. What needs mending is picture.py's to say.

A good 8-bit RGB or grey JPEG, PNG or WebP is left as it is, to the byte. Anything else becomes an RGB or grey image: PNG
where the file was lossless, JPEG of quality 95 without chroma subsampling where it was not.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import PurePosixPath

import numpy as np
from PIL import Image
from PIL.Image import Transpose
from PIL.TiffImagePlugin import TiffImageFile

from tinyllava_core.data.record.reason import Repair

# What is read at all. Not EPS and its like, for which Pillow would start other programs.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000", "PSD", "ICO", "TGA")
Image.init()  # all of Pillow's readers
KEPT = ("JPEG", "PNG", "WEBP")  # what the shards may hold
QUALITY = 95  # Source: img2dataset's default encode_quality for JPEG

_SUFFIXES = {
    "JPEG": ("jpg", "jpeg", "jpe", "jfif"),
    "TIFF": ("tif", "tiff"),
    "PPM": ("ppm", "pgm", "pbm", "pnm"),
    "JPEG2000": ("jp2", "j2k", "jpx", "jpf", "j2c", "jpc"),
}
_FORMAT_OF = {suffix: kind for kind in FORMATS for suffix in _SUFFIXES.get(kind, (kind.lower(),))}
_ORIENTATION = 0x0112  # EXIF's tag
_BITS, _PHOTOMETRIC = 0x0102, 0x0106  # TIFF's: bits of a sample, and whether 0 is white or black
_TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
_OF_MODE = {
    "L": (),
    "RGB": (),
    "P": (Repair.PALETTE_EXPANDED,),
    "PA": (Repair.PALETTE_EXPANDED, Repair.ALPHA_ON_WHITE),
    "LA": (Repair.ALPHA_ON_WHITE,),
    "La": (Repair.ALPHA_ON_WHITE,),
    "RGBA": (Repair.ALPHA_ON_WHITE,),
    "RGBa": (Repair.ALPHA_ON_WHITE,),
    "CMYK": (Repair.CMYK_CONVERTED,),
}
_CHANGES_BYTES = frozenset(Repair) - {
    Repair.LEADING_ANSWER_REMOVED,
    Repair.TRAILING_QUESTION_REMOVED,
    Repair.TAG_ADDED,
    Repair.EXTRA_TAGS_REMOVED,
    Repair.SUFFIX_CORRECTED,
}


def repaired(data: bytes, repairs: Iterable[str]) -> bytes:
    """Give an image file's bytes as the shards hold them: `data` itself, unless a repair changes bytes."""
    found = {Repair(repair) for repair in repairs}
    if not changes_bytes(found):
        return data
    with open_image(data) as image:
        return encode(mend(image, found), lossy=is_lossy(data, image))


def changes_bytes(repairs: Iterable[Repair]) -> bool:
    """Tell whether some of the repairs means other bytes."""
    return not _CHANGES_BYTES.isdisjoint(repairs)


def suffix_of(data: bytes) -> str:
    """Name the format of a file that the shards hold, as the suffix of its member: jpg, png or webp."""
    if data[:3] == b"\xff\xd8\xff":
        return "jpg"
    return "png" if data[:4] == b"\x89PNG" else "webp"


def open_image(data: bytes) -> Image.Image:
    """Open and wholly decode an image's first frame. Raises what Pillow raises on what is none."""
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    image.load()
    return image


def format_of(image: Image.Image) -> str:
    """Name the format; a JPEG with further pictures behind it (MPO) is a JPEG to every decoder."""
    return "JPEG" if image.format == "MPO" else str(image.format)


def orientation_of(image: Image.Image) -> int | None:
    """Read the EXIF orientation, 1 to 8, of a decoded image (Pillow turns a TIFF itself, and takes the tag away)."""
    try:
        found = image.getexif().get(_ORIENTATION)
    except Exception:  # a stranger's EXIF: as good as none
        return None
    return found if found in (1, *_TURNS) else None


def image_repairs(
    path: str, data: bytes, image: Image.Image, apply_orientation: bool, frames: int | None = 1
) -> tuple[Repair, ...]:
    """Say what has to be mended in a decoded image of a known range, in the order of the enumeration."""
    kind = format_of(image)
    found = {*_OF_MODE.get(image.mode, (Repair.DEPTH_SCALED if _is_deep(image) else Repair.MODE_CONVERTED,))}
    if "transparency" in image.info:
        found.add(Repair.ALPHA_ON_WHITE)
    if kind == "PNG" and data[24:25] == b"\x10":  # IHDR's bit depth; of colours, Pillow takes the upper 8 bits
        found.add(Repair.DEPTH_SCALED)
    if frames != 1:
        found.add(Repair.FIRST_FRAME_TAKEN)
    if kind not in KEPT:
        found.add(Repair.FORMAT_CHANGED)
    if apply_orientation and orientation_of(image) in _TURNS:
        found.add(Repair.ORIENTATION_APPLIED)
    if wrong_suffix(path, kind):
        found.add(Repair.SUFFIX_CORRECTED)
    return tuple(repair for repair in Repair if repair in found)


def wrong_suffix(path: str, kind: str) -> bool:
    """Tell whether the name promises another format; one that promises none is no fault."""
    promised = _FORMAT_OF.get(PurePosixPath(path).suffix.lower().removeprefix("."))
    return promised not in (None, kind)


def num_frames(image: Image.Image) -> int:
    """Count the frames of a moving picture; 1 for any other."""
    return int(getattr(image, "n_frames", 1)) if image.format in ("GIF", "WEBP", "PNG", "AVIF", "TIFF") else 1


def is_lossy(data: bytes, image: Image.Image) -> bool:
    """Tell whether an image's format threw something away already."""
    kind = format_of(image)
    return kind in ("JPEG", "AVIF") or (kind == "WEBP" and b"VP8L" not in data[:4096])


def mend(image: Image.Image, repairs: Iterable[Repair]) -> Image.Image:
    """Make a decoded image an 8-bit RGB or grey one -> mode "RGB" or "L"."""
    turn = _TURNS.get(orientation_of(image) or 1) if Repair.ORIENTATION_APPLIED in repairs else None
    if _is_deep(image):
        image = _shallow(image)
    elif Repair.ALPHA_ON_WHITE in repairs:
        layer = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    elif image.mode != "L":
        image = image.convert("L" if image.mode == "1" else "RGB")
    return image if turn is None else image.transpose(turn)


def encode(image: Image.Image, *, lossy: bool) -> bytes:
    """Write a mended image down, with nothing but its pixels."""
    buffer = io.BytesIO()
    image.info = {}  # no colour profile, no EXIF, no transparency
    if lossy:
        image.save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    else:
        image.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def white_of(image: Image.Image) -> int | None:
    """Give the value that the file declares to be white; None where nothing does: 32 bits, floating point."""
    if image.mode.startswith("I;16"):
        bits = image.tag_v2.get(_BITS, (16,)) if isinstance(image, TiffImageFile) else (16,)
        return int((1 << max(bits)) - 1)
    if image.mode == "I":  # Pillow scales a PGM's own white to this
        return 65535 if image.format == "PPM" else None
    return None if image.mode == "F" else 255


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I;16") or image.mode == "I"


def _shallow(image: Image.Image) -> Image.Image:
    """Scale grey of 9 to 16 bits to 8, its transparent value made white."""
    white = white_of(image)
    assert white is not None, "a picture of unknown range is not mended"
    values_HW = np.asarray(image).astype(np.uint32)
    seen = image.info.get("transparency")
    if isinstance(image, TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == 0:  # 0 is white there
        values_HW = white - np.minimum(values_HW, white)
    grey_HW = ((np.minimum(values_HW, white) * 255 + white // 2) // white).astype(np.uint8)
    if isinstance(seen, int):
        grey_HW[values_HW == seen] = 255
    return Image.fromarray(grey_HW)
