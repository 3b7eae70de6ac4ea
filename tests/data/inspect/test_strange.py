"""One strange picture or record costs itself alone: named, under a reason, whatever it does to its reader."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.data.inspect import picture as module
from tinyllava_core.data.inspect.decode import decode_stranger
from tinyllava_core.data.inspect.inspect import inspect_source
from tinyllava_core.data.inspect.picture import judge, look
from tinyllava_core.data.inspect.repair import repaired
from tinyllava_core.data.record.conversation import check
from tinyllava_core.data.record.llava import parse_llava
from tinyllava_core.data.record.reason import Reason, Repair
from tinyllava_core.data.record.values import Origin, origin_of
from tinyllava_core.errors import BadInput
from tinyllava_core.settings.inspect import Inspect

LIMITS = Inspect()


def saved(image, kind, **how):
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def mended(data, name="a.png"):
    """Give the pixels that training sees."""
    found = judge(data, name, LIMITS)
    assert found.reason is None, found.detail
    return found, np.asarray(Image.open(io.BytesIO(repaired(data, found.repairs))).convert("L"))


def test_a_tag_that_the_removal_of_a_tag_makes_is_removed_too():
    """`<im<image>age>` becomes `<image>` when the inner one goes: two places for one picture."""
    item = {
        "id": "a",
        "image": "a.jpg",
        "conversations": [
            {"from": "human", "value": "<image>\n<im<im<image>age>age> q"},
            {"from": "gpt", "value": "yes"},
        ],
    }
    found = check(parse_llava("s", 0, item))
    assert found.repairs == (Repair.EXTRA_TAGS_REMOVED,)
    assert found.record.turns[0].text == "<image>\n q"


def inspect_three(tmp_path, downloaded, llava, photos, strange, name="strange.bin"):
    """Inspect a source of three: the first and the last are good; gives the reasons by path."""
    good = photos["coffee.png"]
    records = [llava(path, "<image>\nWhat?", "This.") for path in ("a.png", name, "b.png")]
    folder, result = downloaded("mine", records, {"a.png": good, name: strange, "b.png": good})
    inspect_source(folder, result, "llava", 0.9, tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / "images.parquet").to_pylist()
    assert [row["reason"] for row in rows if row["path"] != name] == [None, None]
    return next(row for row in rows if row["path"] == name)


def test_a_reader_that_fails_in_an_unforeseen_way_costs_that_picture_alone(
    tmp_path, downloaded, llava, photos, monkeypatch
):
    monkeypatch.setattr(module, "judge", stumble)
    found = inspect_three(tmp_path, downloaded, llava, photos, b"bomb")
    assert found["reason"] == "unforeseen"
    assert found["detail"].startswith("ZeroDivisionError: division by zero (test_strange.py, line ")


def stumble(data, path, limits):
    return 1 / 0 if data == b"bomb" else judge(data, path, limits)


def test_a_grey_tiff_with_premultiplied_alpha_is_laid_on_white(tmp_path, downloaded, llava, photos):
    """Its mode is La, from which Pillow converts to LA alone."""
    grey, alpha = np.array([[0, 128]], np.uint8), np.array([[255, 128]], np.uint8)
    data = tiff(np.stack([grey, alpha], axis=-1).tobytes(), 2, 1, {258: (8, 8), 277: (2,), 338: (1,)})
    assert Image.open(io.BytesIO(data)).mode == "La"
    found, pixels = mended(data, "a.tif")
    assert Repair.ALPHA_ON_WHITE in found.repairs
    assert pixels[0, 0] == 0
    assert abs(int(pixels[0, 1]) - 255) <= 1  # 128 of 255, premultiplied: white that half covers white
    assert inspect_three(tmp_path, downloaded, llava, photos, data, "a.tif")["reason"] is None


def tiff(data, width, height, tags):
    """Write a little-endian TIFF of one strip by hand. `tags`: short values beside the usual ones."""
    shorts = {256: (width,), 257: (height,), 259: (1,), 262: (1,)} | tags
    longs = {273: 8, 278: height, 279: len(data)}
    body, extra, entries = b"II*\0" + struct.pack("<I", 0) + data, b"", []
    at = len(body) + len(body) % 2
    for tag in sorted(shorts | longs):
        if tag in longs:
            entries.append(struct.pack("<HHII", tag, 4, 1, longs[tag]))
        elif len(shorts[tag]) <= 2:
            padded = (*shorts[tag], 0)[:2]
            entries.append(struct.pack("<HHIHH", tag, 3, len(shorts[tag]), *padded))
        else:
            entries.append(struct.pack("<HHII", tag, 3, len(shorts[tag]), at + len(extra)))
            extra += struct.pack(f"<{len(shorts[tag])}H", *shorts[tag])
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + struct.pack("<I", 0)
    body = body.ljust(at, b"\0") + extra
    return body[:4] + struct.pack("<I", len(body)) + body[8:] + directory


def test_a_jpeg_with_an_empty_jfif_segment_and_exif_is_looked_at_like_any_other(tmp_path, downloaded, llava, photos):
    plain = saved(Image.new("RGB", (8, 8), "red"), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0")
    data = b"\xff\xd8\xff\xe0\x00\x06JFIF" + plain[2:]
    found = inspect_three(tmp_path, downloaded, llava, photos, data, "a.jpg")
    assert (found["reason"], found["width"], found["orientation"]) == (None, 8, None)


def test_a_file_larger_than_any_picture_is_refused_before_it_is_read(tmp_path):
    file = tmp_path / "sparse.tif"
    with file.open("wb") as sparse:
        sparse.truncate(12 << 30)
    found = look(ImagePlaces.one(tmp_path), "sparse.tif", LIMITS)
    assert found.reason == Reason.IMAGE_TOO_LARGE
    assert found.detail == "12,884,901,888 bytes; expected at most 1,431,655,760, 8 for each of inspect.max_pixels"


STRANGE_RECORDS = {
    "a number of five thousand digits": '{"id": ' + "9" * 5000 + ', "conversations": []}',
    "more pictures than can be counted": json.dumps(
        {
            "id": 1,
            "image": ["a.png"] * 32_768,
            "conversations": [
                {"from": "human", "value": "<image>" * 32_768},
                {"from": "gpt", "value": "Many."},
            ],
        }
    ),
}


@pytest.mark.parametrize("kind", STRANGE_RECORDS)
def test_a_strange_record_costs_itself_alone(tmp_path, downloaded, llava, photos, kind):
    good = llava("a.png", "<image>\nWhat?", "This.")
    folder, result = downloaded("mine", [good], {"a.png": photos["coffee.png"]})
    file = folder / result.annotations
    file.write_text(f"[{json.dumps(good)}, {STRANGE_RECORDS[kind]}, {json.dumps(good)}]")
    found = inspect_source(folder, result, "llava", 0.9, tmp_path / "out")
    assert (found.num_good, found.num_dropped) == (2, 1)
    ((reason, detail),) = (
        pq.read_table(tmp_path / "out" / "dropped.parquet").select(["reason", "detail"]).to_pandas().values
    )
    assert reason == "malformed"
    assert detail in (
        "Exceeds the limit (4300 digits) for integer string conversion: value has 5000 digits",
        "32768 images; one record has at most 32767",
    )


@pytest.mark.parametrize(
    "told", [("\ud800", "a", 1), ("a", "\ud800", 1), ("a", "b", True), ("a", "b", 1 << 63), ("a", "b", -1)]
)
def test_a_record_that_says_it_came_from_nowhere_that_is_comes_from_nowhere(told):
    """The key is download's own, but who writes the file may write it: one such record ended its source's inspection."""
    assert origin_of({"_from": dict(zip(("subset", "file", "row"), told, strict=True))}) == Origin()


def test_an_id_of_more_digits_than_a_float_has_stays_itself(tmp_path, downloaded, llava, photos):
    record = llava("a.png", "<image>\nWhat?", "This.") | {"id": 123456789012345678901234567890}
    folder, result = downloaded("mine", [record], {"a.png": photos["coffee.png"]})
    inspect_source(folder, result, "llava", 0.9, tmp_path / "out")
    ids = pq.read_table(tmp_path / "out" / "records.parquet")["original_id"].to_pylist()
    assert ids == ["123456789012345678901234567890"]


def png_16(values_HW, *chunks):
    """Write a grey PNG of 16 bits by hand."""
    height, width = values_HW.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values_HW)
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)),
        *chunks,
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + body


def test_grey_of_16_bits_is_scaled_from_its_whole_range_and_what_is_transparent_is_white():
    values = np.array([[0, 32768, 65535, 4242]])
    found, pixels = mended(png_16(values, (b"tRNS", struct.pack(">H", 4242))))
    assert pixels.tolist() == [[0, 128, 255, 255]]
    assert found.repairs == (Repair.ALPHA_ON_WHITE, Repair.DEPTH_SCALED)


def test_a_tiff_of_12_bits_is_scaled_from_its_own_white():
    """0, 2048 and 4095 of 4095 -> black, middle grey, white; as 16 bits they would be nearly black."""
    packed = bytes([0x00, 0x08, 0x00, 0xFF, 0xF0, 0x00])  # three values of 12 bits, and one of padding
    found, pixels = mended(tiff(packed, 4, 1, {258: (12,)}), "a.tif")
    assert pixels.tolist() == [[0, 128, 255, 0]]
    assert Repair.DEPTH_SCALED in found.repairs


def test_a_tiff_whose_zero_is_white_is_not_shown_as_its_negative():
    values = np.array([[0, 65535, 16384]], "<u2")
    _, pixels = mended(tiff(values.tobytes(), 3, 1, {258: (16,), 262: (0,)}), "a.tif")
    assert pixels.tolist() == [[255, 0, 191]]


def test_a_pgm_states_its_own_white():
    data = b"P5\n3 1\n1023\n" + np.array([0, 512, 1023], ">u2").tobytes()
    found, pixels = mended(data, "a.pgm")
    assert pixels.tolist() == [[0, 128, 255]]
    assert Repair.DEPTH_SCALED in found.repairs


def test_32_bits_and_floats_declare_no_white():
    for mode in ("I", "F"):
        assert judge(saved(Image.new(mode, (2, 2)), "TIFF"), "a.tif", LIMITS).reason == Reason.UNKNOWN_RANGE


@pytest.mark.parametrize("kind", ["GIF", "TIFF"])
def test_a_broken_later_frame_costs_the_first_nothing(kind):
    frames = [Image.new("L", (16, 16), shade) for shade in (40, 90, 200)]
    data = bytearray(saved(frames[0], kind, save_all=True, append_images=frames[1:]))
    if kind == "GIF":
        del data[-40:]
    else:  # the second directory stands at a place behind the end of the file
        with Image.open(io.BytesIO(bytes(data))) as image:
            following = image._TiffImageFile__next if hasattr(image, "_TiffImageFile__next") else image.tag_v2.next
        place = bytes(data).find(struct.pack("<I", following), 8)
        data[place : place + 4] = struct.pack("<I", 1 << 30)
    found, pixels = mended(bytes(data), f"a.{kind.lower()}")
    assert pixels.shape == (16, 16)
    assert set(pixels.flat) == {40}
    assert Repair.FORMAT_CHANGED in found.repairs


@pytest.mark.parametrize(("kind", "name"), [("TGA", "a.tga"), ("ICO", "a.ico"), ("JPEG2000", "a.jp2")])
def test_tga_ico_and_jpeg_2000_are_pictures(kind, name):
    data = saved(Image.new("RGB", (16, 16), (10, 200, 30)), kind)
    found = judge(data, name, LIMITS)
    assert (found.reason, found.format, Repair.FORMAT_CHANGED in found.repairs) == (None, kind, True)
    shown = np.asarray(Image.open(io.BytesIO(repaired(data, found.repairs))).convert("RGB"))
    assert np.abs(shown.astype(int) - (10, 200, 30)).max() <= 2


def test_a_photoshop_file_is_shown_as_its_merged_picture():
    plane = bytes([10] * 4) + bytes([200] * 4) + bytes([30] * 4)
    header = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 2, 2, 8, 3)
    data = header + struct.pack(">III", 0, 0, 0) + struct.pack(">H", 0) + plane
    found = judge(data, "a.psd", LIMITS)
    assert (found.reason, found.format) == (None, "PSD")
    shown = np.asarray(Image.open(io.BytesIO(repaired(data, found.repairs))))
    assert shown.reshape(-1, 3).tolist() == [[10, 200, 30]] * 4


def test_postscript_is_no_picture_and_starts_no_program(monkeypatch):
    import subprocess

    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    data = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
    assert judge(data, "a.jpg", LIMITS).reason == Reason.NOT_AN_IMAGE


def with_frame(data, at, value):
    """Change a byte of a JPEG's frame header: 4 is its bits, 11 the first component's sampling."""
    start = data.index(b"\xff\xc0")
    return data[: start + at] + bytes([value]) + data[start + at + 1 :]


def test_a_jpeg_of_other_than_8_bits_is_refused_for_it():
    """libjpeg-turbo gives the samples of a lossless JPEG of 2 bits as 0 to 3: it was stored nearly black."""
    whole = saved(Image.new("RGB", (8, 8), "white"), "JPEG")
    found = judge(with_frame(whole, 4, 2), "a.jpg", LIMITS)
    assert (found.reason, found.detail) == (Reason.UNKNOWN_RANGE, "a JPEG of 2 bits a sample; 8 are read")
    with pytest.raises(BadInput, match="unknown_range: a JPEG of 2 bits"):
        decode_stranger(with_frame(whole, 4, 2), "a.jpg")


def test_a_jpeg_with_a_quarter_of_the_colours_on_its_height_is_a_picture():
    """4:4:1, one of libjpeg-turbo's own test pictures, ended its reader with a KeyError."""
    image = Image.effect_noise((16, 32), 9).convert("RGB")
    data = with_frame(saved(image, "JPEG", subsampling=2), 11, 0x14)  # 4:2:0 has 0x22: as many blocks, else ordered
    with Image.open(io.BytesIO(data)) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    found = judge(data, "a.jpg", LIMITS)
    assert (found.reason, found.width, found.height) == (None, 16, 32)
    assert np.array_equal(decode_stranger(data, "a.jpg"), pixels)


def test_a_jpeg_of_very_many_scans_is_refused_before_it_is_decoded(monkeypatch):
    """Each scan may be a few bytes and takes time for the whole picture."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, "JPEG", progressive=True)
    whole = buffer.getvalue()
    assert judge(whole, "a.jpg", Inspect()).reason is None
    begin = whole.rindex(b"\xff\xda")
    slow = whole[:begin] + whole[begin:-2] * 70 + whole[-2:]
    found = judge(slow, "a.jpg", Inspect())
    assert found.reason is Reason.IMAGE_TOO_LARGE
    assert found.detail == f"{slow.count(bytes((255, 218)))} scans of a JPEG; expected at most 64"
    with pytest.raises(BadInput, match="scans of a JPEG"):
        decode_stranger(slow, "a.jpg")


def test_libtiff_says_nothing_on_the_console(capfd):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).save(
        buffer, "TIFF", compression="tiff_lzw"
    )
    data = bytearray(buffer.getvalue())
    data[100:110] = b"\xff" * 10  # codes that are not yet in LZW's table
    assert judge(bytes(data), "a.tif", Inspect()).reason is not None
    assert capfd.readouterr() == ("", "")


def test_pillow_says_nothing_on_the_console_either():
    """In a process of its own: pytest takes what is logged."""
    tiff = io.BytesIO()
    Image.new("RGB", (4, 4)).save(tiff, "TIFF")
    data = bytearray(tiff.getvalue())
    at = data.index(struct.pack("<HHIH", 277, 3, 1, 3))  # SamplesPerPixel
    data[at : at + 10] = struct.pack("<HHIH", 277, 3, 1, 29)
    script = (
        "import sys; from tinyllava_core.data.inspect.picture import judge; from tinyllava_core.settings.inspect import Inspect; "
        f"print(judge({bytes(data)!r}, 'a.tif', Inspect()).reason)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]
    )
    assert (ran.stderr, ran.stdout != "None\n") == ("", True)
