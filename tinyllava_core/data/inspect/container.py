"""What an image file's container says of itself before anything is decoded: its kind, its end, a JPEG's bits. It judges nothing."""

from __future__ import annotations

BITS = 8  # of a sample of the JPEGs that are read
_NO_FRAMES = (0xC4, 0xC8, 0xCC)  # tables and an extension, which have their marks among the frames'

_BEGINNINGS = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"GIF8", "GIF"),
    (8, b"WEBP", "WEBP"),
    (0, b"BM", "BMP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (4, b"ftypavi", "AVIF"),
    (0, b"8BPS", "PSD"),
    (0, b"\0\0\1\0", "ICO"),
    (0, b"\0\0\0\x0cjP  ", "JPEG2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG2000"),
)
HAVE_AN_END = ("JPEG", "PNG", "GIF", "WEBP")


def kind_of(data: bytes) -> str | None:
    """Name the format that a file begins as; None for any other."""
    return next((kind for at, mark, kind in _BEGINNINGS if data.startswith(mark, at)), None)


def ends_early(kind: str | None, data: bytes) -> bool:
    """Tell by the container's own words whether the file is shorter than it should be."""
    if kind == "WEBP":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    if kind == "GIF":
        return data[-1:] != b";"
    return {"JPEG": b"\xff\xd9", "PNG": b"IEND"}.get(kind or "", b"") not in data[-64:]


def jpeg_bits(data: bytes) -> int | None:
    """Read of a JPEG's frame header how many bits a sample has; None where none is found. Source: ITU-T T.81, B.1.1.4 and B.2.2."""
    at = 2
    while at + 5 <= len(data) and data[at] == 0xFF:
        mark = data[at + 1]
        if 0xC0 <= mark <= 0xCF and mark not in _NO_FRAMES:
            return data[at + 4]
        at += 1 if mark == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4])
    return None
