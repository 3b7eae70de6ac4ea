"""Mended images: values worked out by hand on pictures of a few colours."""

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from tinyllava_core.data.inspect.picture import judge
from tinyllava_core.data.inspect.repair import changes_bytes, repaired, suffix_of
from tinyllava_core.data.record.reason import Repair
from tinyllava_core.settings.inspect import Inspect


def mended(data, path="a", **limits):
    """Judge and mend -> (repairs, the shards' image as Pillow opens it); the bytes are those that were announced."""
    found = judge(data, path, Inspect(**limits))
    assert found.reason is None, found.detail
    new = repaired(data, [repair.value for repair in found.repairs])
    assert repaired(data, found.repairs) == new, "the same bytes each time"
    if changes_bytes(found.repairs):
        assert hashlib.sha256(new).hexdigest() == found.repaired_sha256
        again = judge(new, f"a.{suffix_of(new)}", Inspect(**limits))
        assert (again.repairs, again.notes) == ((), ()), "what was mended needs no mending"
        assert (again.width, again.height) == (found.width, found.height)
    else:
        assert new is data
        assert found.repaired_sha256 is None
    return found.repairs, Image.open(io.BytesIO(new))


def test_16_bit_grey_is_scaled_over_its_whole_range(encoded):
    """0, half and all of 65535; and 256, which is one step of 8 bits. Pillow's convert("RGB") makes 255 of all but 0."""
    values = np.array([[0, 32768, 65535, 256]], np.uint16).repeat(4, axis=0)
    repairs, image = mended(encoded(Image.fromarray(values), "PNG"))
    assert repairs == (Repair.DEPTH_SCALED,)
    assert (image.format, image.mode) == ("PNG", "L")
    assert np.asarray(image)[0].tolist() == [0, 128, 255, 1]


def test_what_is_transparent_is_laid_on_white(encoded):
    """Half-transparent black is grey: 255 * (1 - 128/255) = 127. Hidden red is not seen."""
    image = Image.new("RGBA", (3, 1))
    image.putdata([(255, 0, 0, 0), (0, 0, 0, 128), (0, 0, 255, 255)])
    repairs, image = mended(encoded(image, "PNG"))
    assert repairs == (Repair.ALPHA_ON_WHITE,)
    assert [image.getpixel((x, 0)) for x in range(3)] == [(255, 255, 255), (127, 127, 127), (0, 0, 255)]


def test_a_palette_becomes_its_colours_and_its_hole_white(encoded):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putdata([0, 1])
    repairs, plain = mended(encoded(image, "PNG"))
    assert (repairs, plain.getpixel((0, 0)), plain.getpixel((1, 0))) == (
        (Repair.PALETTE_EXPANDED,),
        (255, 0, 0),
        (0, 255, 0),
    )
    repairs, holed = mended(encoded(image, "PNG", transparency=0))
    assert repairs == (Repair.PALETTE_EXPANDED, Repair.ALPHA_ON_WHITE)
    assert (holed.getpixel((0, 0)), holed.getpixel((1, 0))) == ((255, 255, 255), (0, 255, 0))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_a_moving_picture_the_first_frame_is_taken(encoded, kind):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    repairs, image = mended(encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=9, **options))
    assert Repair.FIRST_FRAME_TAKEN in repairs
    assert (image.format, image.mode, image.getpixel((3, 3))) == ("PNG", "RGB", (255, 0, 0))


def test_printing_colours_become_rgb(encoded):
    data = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95)
    repairs, image = mended(data, "a.jpg")
    assert repairs == (Repair.CMYK_CONVERTED,)
    assert (image.format, image.mode) == ("JPEG", "RGB")
    assert np.abs(np.array(image.getpixel((8, 8))) - (255, 0, 0)).max() <= 2


def test_black_and_white_bits_become_grey(encoded):
    image = Image.new("1", (2, 1))
    image.putdata([0, 1])
    repairs, image = mended(encoded(image, "PNG"))
    assert (repairs, image.mode, [image.getpixel((x, 0)) for x in (0, 1)]) == ((Repair.MODE_CONVERTED,), "L", [0, 255])


@pytest.mark.parametrize(("kind", "becomes"), [("BMP", "PNG"), ("TIFF", "PNG"), ("PPM", "PNG"), ("AVIF", "JPEG")])
def test_other_formats_are_written_anew_without_loss_where_they_had_none(encoded, kind, becomes):
    if f".{kind.lower()}" not in Image.registered_extensions():
        pytest.skip(f"this Pillow reads no {kind}")
    repairs, image = mended(encoded(Image.new("RGB", (16, 16), "red"), kind))
    assert (repairs, image.format) == ((Repair.FORMAT_CHANGED,), becomes)
    assert np.abs(np.array(image.getpixel((8, 8))) - (255, 0, 0)).max() <= (0 if becomes == "PNG" else 3)


@pytest.mark.parametrize(("lossless", "becomes"), [(True, "PNG"), (False, "JPEG")])
def test_webp_with_alpha_is_written_as_it_was_lossless_or_not(encoded, lossless, becomes):
    data = encoded(Image.new("RGBA", (16, 16), (255, 0, 0, 0)), "WEBP", lossless=lossless)
    assert mended(data)[1].format == becomes


@pytest.mark.parametrize(
    ("path", "wrong"), [("a.jpg", True), ("a.JPEG", True), ("a.png", False), ("a", False), ("Robert_Downey_Jr.", False)]
)
def test_a_wrong_suffix_changes_no_byte(encoded, path, wrong):
    repairs, _ = mended(encoded(Image.new("RGB", (9, 9)), "PNG"), path)
    assert repairs == ((Repair.SUFFIX_CORRECTED,) if wrong else ())


@pytest.mark.parametrize(
    ("orientation", "corners"),  # the stored corners are r g / b w, in reading order
    [(2, "grwb"), (3, "wbgr"), (4, "bwrg"), (5, "rbgw"), (6, "brwg"), (7, "wgbr"), (8, "gwrb")],
)
def test_exif_turns_the_picture_as_the_standard_says(encoded, orientation, corners):
    """EXIF 2.3: 6 means that the stored first row is the picture's right side, so it is turned clockwise; and so on."""
    colours = {"r": (255, 0, 0), "g": (0, 255, 0), "b": (0, 0, 255), "w": (255, 255, 255)}
    image = Image.new("RGB", (2, 2))
    image.putdata([colours[letter] for letter in "rgbw"])
    exif = Image.Exif()
    exif[0x0112] = orientation
    repairs, turned = mended(encoded(image, "PNG", exif=exif), exif_orientation="apply")
    assert repairs == (Repair.ORIENTATION_APPLIED,)
    assert list(turned.get_flattened_data() if hasattr(turned, "get_flattened_data") else turned.getdata()) == [
        colours[letter] for letter in corners
    ]


def test_profiles_and_notes_are_left_behind(encoded):
    data = encoded(Image.new("RGBA", (4, 4)), "PNG", icc_profile=b"profile", pnginfo=None)
    assert set(mended(data)[1].info) == set()
