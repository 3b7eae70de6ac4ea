"""What is asked about is judged and mended as what is trained on is, and a stranger's picture can cost a process, not the page."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from PIL import Image

from tinyllava_core.data.inspect import decode as module
from tinyllava_core.data.inspect.decode import decode, decode_stranger, read_stranger
from tinyllava_core.data.inspect.decode_process import DecoderProcess
from tinyllava_core.data.inspect.picture import judge
from tinyllava_core.data.inspect.repair import repaired
from tinyllava_core.errors import BadInput
from tinyllava_core.settings.inspect import Inspect


def saved(image, kind, **how):
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def pictures():
    """One of each kind that has to be mended, and plain ones."""
    chance = np.random.default_rng(0)
    noise = Image.fromarray(chance.integers(0, 256, (40, 30, 3), np.uint8))
    deep = Image.fromarray(np.linspace(0, 65535, 1200).astype(np.uint16).reshape(40, 30))
    clear = noise.copy()
    clear.putalpha(Image.fromarray(chance.integers(0, 256, (40, 30), np.uint8)))
    yield "plain.jpg", saved(noise, "JPEG")
    yield "grey.jpg", saved(noise.convert("L"), "JPEG")
    yield "cmyk.jpg", saved(noise.convert("CMYK"), "JPEG")
    yield "deep.png", saved(deep, "PNG")
    yield "deep.tif", saved(deep, "TIFF")
    yield "clear.png", saved(clear, "PNG")
    yield "palette.gif", saved(noise.convert("P"), "GIF")
    yield "lossless.webp", saved(noise, "WEBP", lossless=True)
    yield "bits.png", saved(noise.convert("1"), "PNG")


@pytest.mark.parametrize(("name", "data"), list(pictures()))
def test_asking_and_training_see_the_same_pixels(name, data):
    found = judge(data, name, Inspect())
    trained = decode(repaired(data, found.repairs))
    np.testing.assert_array_equal(decode_stranger(data, name), trained)


def test_grey_of_16_bits_is_not_white_when_it_is_asked_about():
    """Half of the range is middle grey: Pillow's own convert would clip it to white."""
    data = saved(Image.fromarray(np.full((4, 4), 32768, np.uint16)), "PNG")
    assert set(decode_stranger(data, "a.png").flat) == {128}


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n", "not_an_image"),
        (b"", "empty_image"),
        (saved(Image.new("RGB", (9000, 10)), "PNG"), "absurd_aspect"),
        (saved(Image.new("RGB", (64, 64)), "JPEG")[:-40], "truncated_image"),
        (saved(Image.new("F", (4, 4)), "TIFF"), "unknown_range"),
    ],
)
def test_what_inspection_would_drop_is_refused_in_one_line(data, fault):
    with pytest.raises(BadInput, match=rf"^mine: cannot be read as a picture: {fault}: .*; expected JPEG, PNG"):
        decode_stranger(data, "mine")


def test_a_picture_of_too_many_pixels_is_refused_by_its_header():
    limits = Inspect(max_pixels=100)
    for kind in ("JPEG", "PNG"):
        with pytest.raises(BadInput, match=r"image_too_large: 11 x 10 are more than inspect.max_pixels 100"):
            decode_stranger(saved(Image.new("RGB", (11, 10)), kind), "mine", limits)


def test_a_file_larger_than_any_picture_is_not_read(tmp_path):
    with (tmp_path / "sparse").open("wb") as sparse:
        sparse.truncate(12 << 30)
    with pytest.raises(BadInput, match=r"12,884,901,888 bytes; expected a picture, of at most 1,431,655,760"):
        read_stranger(tmp_path / "sparse")
    with pytest.raises(BadInput, match="no such file"):
        read_stranger(tmp_path)


def test_another_process_gives_the_same_pixels_and_the_same_faults():
    decoder = DecoderProcess()
    try:
        for name, data in pictures():
            np.testing.assert_array_equal(decoder(data, name), decode_stranger(data, name))
        with pytest.raises(BadInput, match=r"^mine: cannot be read as a picture: empty_image: no bytes"):
            decoder(b"", "mine")
    finally:
        decoder.close()


def test_a_picture_that_takes_too_long_ends_its_process_and_the_next_one_is_read():
    decoder = DecoderProcess(time_limit_s=0.0)
    data = saved(Image.new("RGB", (3000, 3000)), "PNG")
    try:
        began = time.monotonic()
        with pytest.raises(
            BadInput, match=r"^slow: cannot be read as a picture: it took longer than 0 s; send a smaller"
        ):
            decoder(data, "slow")
        assert time.monotonic() - began < 10
        decoder._time_limit_s = 60.0
        assert decoder(data, "again").shape == (3000, 3000, 3)
    finally:
        decoder.close()


def test_a_process_that_dies_over_a_picture_is_said_and_started_again():
    decoder = DecoderProcess()
    data = saved(Image.new("RGB", (8, 8)), "PNG")
    try:
        assert decoder(data, "first").shape == (8, 8, 3)
        decoder._process.kill()
        decoder._process.wait()
        assert decoder(data, "second").shape == (8, 8, 3)
    finally:
        decoder.close()


def test_an_exception_that_nobody_foresaw_is_one_line(monkeypatch):
    monkeypatch.setattr(module, "judge", lambda *_: 1 / 0)
    with pytest.raises(
        BadInput, match="mine: cannot be read as a picture: ZeroDivisionError: division by zero; expected"
    ):
        decode_stranger(b"GIF89a", "mine")
