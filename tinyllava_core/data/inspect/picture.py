"""Look at one image file once: hashed, decoded to its last pixel, judged. It changes nothing; repair.py mends."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import warnings
from dataclasses import dataclass

import numpy as np
import simplejpeg
import xxhash
from PIL import Image, UnidentifiedImageError

from tinyllava_core.data.files.archive import safe_path
from tinyllava_core.data.files.places import ImagePlaces, Piece
from tinyllava_core.data.inspect.container import BITS, HAVE_AN_END, ends_early, jpeg_bits, kind_of
from tinyllava_core.data.inspect.phash import phash
from tinyllava_core.data.inspect.quiet import hush
from tinyllava_core.data.inspect.repair import (
    FORMATS,
    changes_bytes,
    encode,
    format_of,
    image_repairs,
    is_lossy,
    mend,
    num_frames,
    open_image,
    orientation_of,
    white_of,
    wrong_suffix,
)
from tinyllava_core.data.record.reason import Note, Reason, Repair
from tinyllava_core.settings.inspect import Inspect

hush()
warnings.filterwarnings("ignore", module=r"PIL\b")  # big pictures, odd metadata: what is a fault comes as an exception

_BYTES_A_PIXEL, _LITTLE = 8, 1 << 26  # no picture's file needs more: four channels of 16 bits; 64 MiB are always fine
_MOST_SCANS = (
    64  # a progressive JPEG has about ten; each takes time for the whole picture, though it may be a few bytes
)
NO_PLAIN_JPEG = (
    ValueError,
    KeyError,
)  # what simplejpeg says of one that it does not decode; KeyError: of chroma in 4:4:1
_EXIF_WITHIN = 1 << 17  # bytes: EXIF is one of a JPEG's first segments, of 64 KiB at most each
_PLAIN = {"YCbCr": "RGB", "RGB": "RGB", "Gray": "L"}  # libjpeg's colour spaces that need no mending, and Pillow's words


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What one image file is; what could not be found out is None."""

    path: str  # as the records name it
    sha256: str | None = None  # of the file's bytes
    width: int | None = None  # as it is trained on: after the repairs
    height: int | None = None
    format: str | None = None  # Pillow's word for what it is, whatever its name says: JPEG, PNG, ...
    size_bytes: int | None = None
    mode: str | None = None  # Pillow's word for its pixels in the file: RGB, L, P, CMYK, ...
    orientation: int | None = None  # EXIF's, 1 to 8
    frames: int | None = None
    pixel_hash: str | None = None  # xxh3_128 of width, height and mended RGB pixels
    phash: int | None = None  # 64 bits, near for near pictures
    repairs: tuple[Repair, ...] = ()
    notes: tuple[Note, ...] = ()
    repaired_sha256: str | None = None  # of the bytes that the shards hold, where a repair changes them
    reason: Reason | None = None  # None: good
    detail: str = ""


class _Fault(Exception):
    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def look(images: ImagePlaces, path: str, limits: Inspect) -> Picture:
    """Read, hash, decode and judge the image that records call `path`; a fault comes back as its reason.

    A file that ends early is a fault: LLaVA's loader would train on its grey lower half (LOAD_TRUNCATED_IMAGES).
    """
    if not path:
        return Picture(path=path, reason=Reason.MISSING_IMAGE, detail="the path is empty")
    if safe_path(path) is None:
        return Picture(path=path, reason=Reason.IMAGE_OUTSIDE_ROOT, detail="absolute, or climbs out with '..'")
    try:
        file = images.look_up(path)
        if file is None:
            detail = "no such file" if images.known(path) else "no image place has such a prefix"
            return Picture(path=path, reason=Reason.MISSING_IMAGE, detail=detail)
        size, most = file.size if isinstance(file, Piece) else file.stat().st_size, most_bytes(limits)
        if size > most:  # told before it is read
            detail = f"{size:,} bytes; expected at most {most:,}, {_BYTES_A_PIXEL} for each of inspect.max_pixels"
            return Picture(path=path, size_bytes=size, reason=Reason.IMAGE_TOO_LARGE, detail=detail)
        data = file.read_bytes()
    except OSError as error:
        return Picture(path=path, reason=Reason.UNREADABLE_IMAGE, detail=_one_line(error))
    return judge(data, path, limits)


def most_bytes(limits: Inspect) -> int:
    """Say how large a picture's file may be."""
    return max(_BYTES_A_PIXEL * limits.max_pixels, _LITTLE)


def judge(data: bytes, path: str, limits: Inspect) -> Picture:
    """Judge the bytes of one image file."""
    bare = Picture(path=path, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
    try:
        return _plain_jpeg(bare, data, limits) or _by_pillow(bare, data, limits)
    except _Fault as fault:
        return dataclasses.replace(bare, reason=fault.reason, detail=fault.detail)


def _plain_jpeg(bare: Picture, data: bytes, limits: Inspect) -> Picture | None:
    """Judge a JPEG that needs no mending, by libjpeg-turbo; None for anything else, and for what it refuses.

    It is as strict as Pillow on files that end early, gives the same pixels, and takes two thirds of the time.
    """
    try:
        if (header := _plain_header(data, limits)) is None:
            return None
        height, width, colours = header
        orientation = _jpeg_orientation(data)
        if limits.exif_orientation == "apply" and (orientation or 1) != 1:
            return None
        rgb_HW3 = simplejpeg.decode_jpeg(data, "RGB")
    except NO_PLAIN_JPEG:
        return None
    return dataclasses.replace(
        bare,
        width=width,
        height=height,
        format="JPEG",
        mode=_PLAIN[colours],
        orientation=orientation,
        frames=1,
        pixel_hash=_pixel_hash(rgb_HW3),
        phash=phash(Image.fromarray(rgb_HW3)),
        repairs=(Repair.SUFFIX_CORRECTED,) if wrong_suffix(bare.path, "JPEG") else (),
        notes=_orientation_kept(orientation),
    )


def is_plain_jpeg(data: bytes, limits: Inspect) -> bool:
    """Tell by its header alone whether a file is a JPEG of a good size that needs no mending, should its data be whole."""
    try:
        return limits.exif_orientation == "keep" and _plain_header(data, limits) is not None
    except (_Fault, *NO_PLAIN_JPEG):
        return False


def _plain_header(data: bytes, limits: Inspect) -> tuple[int, int, str] | None:
    """Read height, width and colours of a JPEG; None if it is none, or its colours need mending, or it is not told to have 8 bits."""
    if data[:3] != b"\xff\xd8\xff" or jpeg_bits(data) != BITS:  # libjpeg-turbo gives 2 bits as 0 to 3: nearly black
        return None
    height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    if colours not in _PLAIN:
        return None
    _check_size(width, height, limits)
    _check_scans(data)
    return height, width, colours


def _check_scans(data: bytes) -> None:
    """Raise a fault for a JPEG of so many scans that a small file takes long to decode: FF DA stands nowhere within a scan."""
    if (scans := data.count(b"\xff\xda")) > _MOST_SCANS:
        raise _Fault(Reason.IMAGE_TOO_LARGE, f"{scans} scans of a JPEG; expected at most {_MOST_SCANS}")


def _by_pillow(bare: Picture, data: bytes, limits: Inspect) -> Picture:
    if not data:
        raise _Fault(Reason.EMPTY_IMAGE, "no bytes")
    image, frames = _decoded(data, limits)
    with image:
        if white_of(image) is None:
            raise _Fault(Reason.UNKNOWN_RANGE, f"{format_of(image)} of mode {image.mode}")
        apply = limits.exif_orientation == "apply"
        repairs, orientation = image_repairs(bare.path, data, image, apply, frames), orientation_of(image)
        mended = mend(image, repairs)
        changed = encode(mended, lossy=is_lossy(data, image)) if changes_bytes(repairs) else None
        return dataclasses.replace(
            bare,
            width=mended.width,
            height=mended.height,
            format=format_of(image),
            mode=image.mode,
            orientation=orientation,
            frames=frames,
            pixel_hash=_pixel_hash(np.asarray(mended.convert("RGB"))),
            phash=phash(mended),
            repairs=repairs,
            notes=() if apply else _orientation_kept(orientation),
            repaired_sha256=hashlib.sha256(changed).hexdigest() if changed is not None else None,
        )


def _decoded(data: bytes, limits: Inspect) -> tuple[Image.Image, int | None]:
    """Open and decode by Pillow, which raises OSError, SyntaxError, ValueError, struct.error, ... on a stranger's bytes.

    Gives the first frame, and how many there are: None where a later one is broken.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise _Fault(Reason.IMAGE_TOO_LARGE, _one_line(error)) from None
    except Exception as error:
        raise _undecoded(data, error) from None
    _check_size(image.width, image.height, limits)
    if image.format in ("JPEG", "MPO"):
        _check_scans(data)
    try:
        image.load()
    except Exception as error:
        raise _undecoded(data, error) from None
    try:
        return image, num_frames(image)
    except Exception:  # looking for a later frame may have lost the first
        return open_image(data), None


def _undecoded(data: bytes, error: Exception) -> _Fault:
    kind = kind_of(data)
    if kind == "JPEG" and (bits := jpeg_bits(data)) not in (None, BITS):
        return _Fault(Reason.UNKNOWN_RANGE, f"a JPEG of {bits} bits a sample; {BITS} are read")
    if kind is None and isinstance(error, UnidentifiedImageError):
        return _Fault(Reason.NOT_AN_IMAGE, f"none of {', '.join(FORMATS)}; it begins with {data[:16]!r}")
    told = "no whole header" if isinstance(error, UnidentifiedImageError) else _one_line(error)
    early = ends_early(kind, data) if kind in HAVE_AN_END else "truncated" in told.lower()
    return _Fault(Reason.TRUNCATED_IMAGE if early else Reason.BROKEN_IMAGE, f"{kind or 'image'}: {told}")


def _check_size(width: int, height: int, limits: Inspect) -> None:
    if width * height > limits.max_pixels:
        raise _Fault(
            Reason.IMAGE_TOO_LARGE, f"{width} x {height} are more than inspect.max_pixels {limits.max_pixels:,}"
        )
    if min(width, height) < limits.min_side:
        raise _Fault(Reason.IMAGE_TOO_SMALL, f"{width} x {height}: a side under inspect.min_side {limits.min_side}")
    if max(width, height) > limits.max_aspect * min(width, height):
        raise _Fault(
            Reason.ABSURD_ASPECT, f"{width} x {height}: longer than inspect.max_aspect {limits.max_aspect:g} times"
        )


def _jpeg_orientation(data: bytes) -> int | None:
    if data.find(b"Exif\0\0", 0, _EXIF_WITHIN) < 0:
        return None
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return orientation_of(image)
    except Exception:  # segments that Pillow does not get through: as good as none
        return None


def _orientation_kept(orientation: int | None) -> tuple[Note, ...]:
    return (Note.EXIF_ORIENTATION_KEPT,) if (orientation or 1) != 1 else ()


def _pixel_hash(rgb_HW3: np.ndarray) -> str:
    height, width = rgb_HW3.shape[:2]
    digest = xxhash.xxh3_128(f"{width}x{height}:".encode())
    digest.update(np.ascontiguousarray(rgb_HW3).data)
    return digest.hexdigest()


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
