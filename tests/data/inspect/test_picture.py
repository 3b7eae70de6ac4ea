import dataclasses
import hashlib

import numpy as np
import pytest
import xxhash
from PIL import Image

from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.data.inspect.picture import judge, look
from tinyllava_core.data.inspect.repair import repaired
from tinyllava_core.data.record.reason import Note, Reason, Repair
from tinyllava_core.settings.inspect import Inspect

LIMITS = Inspect()


def put(folder, name, data):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def rgb(data):
    """Decode by Pillow."""
    import io

    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize(
    ("name", "width", "height", "kind", "mode"),
    [
        ("people/astronaut.jpg", 512, 512, "JPEG", "RGB"),
        ("coffee.png", 600, 400, "PNG", "RGB"),
        ("cats/chelsea.jpg", 451, 300, "JPEG", "RGB"),
        ("camera.png", 512, 512, "PNG", "L"),
    ],
)
def test_a_photograph_is_known_for_what_it_is(tmp_path, photos, name, width, height, kind, mode):
    put(tmp_path, name, photos[name])
    found = look(ImagePlaces.one(tmp_path), name, LIMITS)
    pixels = xxhash.xxh3_128_hexdigest(f"{width}x{height}:".encode() + rgb(photos[name]).tobytes())
    assert dataclasses.asdict(found) | {"phash": None} == {
        "path": name,
        "sha256": hashlib.sha256(photos[name]).hexdigest(),
        "width": width,
        "height": height,
        "format": kind,
        "size_bytes": len(photos[name]),
        "mode": mode,
        "orientation": None,
        "frames": 1,
        "pixel_hash": pixels,
        "phash": None,
        "repairs": (),
        "notes": (),
        "repaired_sha256": None,
        "reason": None,
        "detail": "",
    }


@pytest.mark.parametrize(
    "options", [{"progressive": True}, {"subsampling": 0}, {"quality": 5}, {"restart_marker_rows": 1}]
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_good_jpeg_keeps_its_bytes_and_has_the_pixels_that_pillow_sees(photos, encoded, mode, options):
    data = encoded(Image.fromarray(rgb(photos["coffee.png"])).convert(mode), "JPEG", **options)
    found = judge(data, "a.jpg", LIMITS)
    assert (found.reason, found.repairs, found.repaired_sha256) == (None, (), None)
    assert found.pixel_hash == xxhash.xxh3_128_hexdigest(b"600x400:" + rgb(data).tobytes())
    assert repaired(data, found.repairs) is data


def test_what_libjpeg_turbo_complains_of_is_pillows_to_judge(photos):
    """Bytes between the last pixel and the end mark: simplejpeg refuses the file, Pillow and every viewer show it."""
    data = photos["cats/chelsea.jpg"]
    found = judge(data[:-2] + b"\x00\x00" + data[-2:], "a.jpg", LIMITS)
    assert (found.reason, found.width) == (None, 451)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("kept", [0.99, 0.5, 0.01])
def test_a_picture_that_ends_early_is_truncated(photos, encoded, kind, kept):
    whole = encoded(Image.fromarray(rgb(photos["people/astronaut.jpg"])), kind)
    data = whole[: int(len(whole) * kept)]
    found = judge(data, "a", LIMITS)
    assert found.reason == Reason.TRUNCATED_IMAGE
    assert (found.sha256, found.size_bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    assert (found.width, found.phash) == (None, None)


@pytest.mark.parametrize(
    ("data", "reason", "detail"),
    [
        (b"", Reason.EMPTY_IMAGE, "no bytes"),
        (b"<html>404</html>", Reason.NOT_AN_IMAGE, "it begins with b'<html>404</html>'"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", Reason.NOT_AN_IMAGE, "none of JPEG, PNG"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 50 + b"\xff\xd9", Reason.BROKEN_IMAGE, "JPEG: "),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 40 + b"IEND\xaeB`\x82", Reason.BROKEN_IMAGE, "PNG: "),
    ],
)
def test_what_does_not_decode_is_told_apart(data, reason, detail):
    found = judge(data, "a.jpg", LIMITS)
    assert found.reason == reason
    assert detail in found.detail
    assert "0x" not in found.detail, "an address in memory: other bytes in the table each time"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF"])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(encoded, monkeypatch, kind):
    data = encoded(Image.new("L", (1000, 500)), kind)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    monkeypatch.setattr("simplejpeg.decode_jpeg", lambda *_, **__: pytest.fail("decoded"))
    found = judge(data, "a", Inspect(max_pixels=499_999))
    assert found.reason == Reason.IMAGE_TOO_LARGE
    assert found.detail == "1000 x 500 are more than inspect.max_pixels 499,999"


def test_pillows_own_limit_has_the_same_reason(encoded):
    found = judge(encoded(Image.new("1", (20_000, 9_000)), "PNG"), "a.png", LIMITS)
    assert found.reason == Reason.IMAGE_TOO_LARGE


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize(
    ("size", "reason"),
    [
        ((100, 10), None),
        ((101, 10), Reason.ABSURD_ASPECT),
        ((10, 101), Reason.ABSURD_ASPECT),
        ((9, 20), Reason.IMAGE_TOO_SMALL),
    ],
)
def test_the_declared_limits_are_held(encoded, kind, size, reason):
    assert judge(encoded(Image.new("RGB", size), kind), "a", Inspect(max_aspect=10, min_side=10)).reason == reason


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", [None, 1, 3, 6, 8, 99])
def test_exif_orientation_is_kept_and_noted_or_applied(photos, encoded, kind, orientation):
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    data = encoded(Image.fromarray(rgb(photos["coffee.png"])), kind, exif=exif.tobytes())
    asks = orientation in (3, 6, 8)
    kept, applied = judge(data, "a", LIMITS), judge(data, "a", Inspect(exif_orientation="apply"))
    assert (kept.width, kept.height, kept.repairs) == (600, 400, ())
    assert kept.orientation == (orientation if orientation != 99 else None)
    assert kept.notes == ((Note.EXIF_ORIENTATION_KEPT,) if asks else ())
    assert applied.repairs == ((Repair.ORIENTATION_APPLIED,) if asks else ())
    assert (applied.width, applied.height) == ((400, 600) if orientation in (6, 8) else (600, 400))
    assert applied.notes == ()


def test_broken_exif_is_no_fault(photos, encoded):
    data = encoded(Image.fromarray(rgb(photos["coffee.png"])), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    found = judge(data, "a.jpg", LIMITS)
    assert (found.reason, found.orientation) == (None, None)


@pytest.mark.parametrize("path", ["", "none.jpg", "folder", "file.txt/a.jpg"])
def test_no_such_file_is_missing(tmp_path, path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.txt").touch()
    assert look(ImagePlaces.one(tmp_path), path, LIMITS).reason == Reason.MISSING_IMAGE


@pytest.mark.parametrize("path", ["/etc/passwd", "../a.jpg", "a/../../b.jpg", "a\0b.jpg"])
def test_a_path_out_of_the_root_is_not_followed(tmp_path, path):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "a.jpg").write_bytes(b"secret")
    found = look(ImagePlaces.one(root), path, LIMITS)
    assert found.reason == Reason.IMAGE_OUTSIDE_ROOT
    assert found.sha256 is None
