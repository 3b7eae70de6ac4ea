import hashlib

import pytest
from PIL import Image

from tinyllava_core.data.picture import Picture, look
from tinyllava_core.data.places import ImagePlaces
from tinyllava_core.data.reason import Reason


def put(folder, name, data):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


@pytest.mark.parametrize(
    ("name", "width", "height", "kind"),
    [
        ("people/astronaut.jpg", 512, 512, "JPEG"),
        ("coffee.png", 600, 400, "PNG"),
        ("cats/chelsea.jpg", 451, 300, "JPEG"),
        ("camera.png", 512, 512, "PNG"),
    ],
)
def test_a_photograph_is_known_for_what_it_is(tmp_path, photos, name, width, height, kind):
    put(tmp_path, name, photos[name])
    assert look(ImagePlaces.one(tmp_path), name) == Picture(
        path=name,
        sha256=hashlib.sha256(photos[name]).hexdigest(),
        width=width,
        height=height,
        format=kind,
        size_bytes=len(photos[name]),
    )


def test_the_format_is_the_bytes_not_the_name(tmp_path, photos):
    put(tmp_path, "a.jpg", photos["coffee.png"])
    assert look(ImagePlaces.one(tmp_path), "a.jpg").format == "PNG"


@pytest.mark.parametrize("mode", ["CMYK", "L", "P", "RGBA", "I;16", "1"])
def test_odd_modes_are_good_pictures(tmp_path, encoded, mode):
    put(tmp_path, "a", encoded(Image.new(mode, (20, 10)), "TIFF" if mode == "CMYK" else "PNG"))
    assert look(ImagePlaces.one(tmp_path), "a").reason is None


@pytest.mark.parametrize("name", ["people/astronaut.jpg", "coffee.png"])
@pytest.mark.parametrize("kept", [0.99, 0.5, 0.01])
def test_a_picture_that_ends_early_is_unreadable(tmp_path, photos, name, kept):
    data = photos[name][: int(len(photos[name]) * kept)]
    put(tmp_path, "a", data)
    found = look(ImagePlaces.one(tmp_path), "a")
    assert found.reason == Reason.UNREADABLE_IMAGE
    assert found.sha256 == hashlib.sha256(data).hexdigest()
    assert found.size_bytes == len(data)
    assert found.width is None


@pytest.mark.parametrize(("data", "detail"), [(b"", "no bytes"), (b"<html>404</html>", "cannot identify")])
def test_what_is_no_picture_is_unreadable(tmp_path, data, detail):
    put(tmp_path, "a.jpg", data)
    found = look(ImagePlaces.one(tmp_path), "a.jpg")
    assert found.reason == Reason.UNREADABLE_IMAGE
    assert detail in found.detail


def test_a_decompression_bomb_is_unreadable(tmp_path, encoded, monkeypatch):
    put(tmp_path, "a.png", encoded(Image.new("1", (2000, 1000)), "PNG"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 900_000)  # twice this is an error
    found = look(ImagePlaces.one(tmp_path), "a.png")
    assert found.reason == Reason.UNREADABLE_IMAGE
    assert "DecompressionBombError" in found.detail


@pytest.mark.parametrize("path", ["", "none.jpg", "folder", "file.txt/a.jpg"])
def test_no_such_file_is_missing(tmp_path, path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.txt").touch()
    assert look(ImagePlaces.one(tmp_path), path).reason == Reason.MISSING_IMAGE


@pytest.mark.parametrize("path", ["/etc/passwd", "../a.jpg", "a/../../b.jpg", "a\0b.jpg"])
def test_a_path_out_of_the_root_is_not_followed(tmp_path, path):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "a.jpg").write_bytes(b"secret")
    found = look(root, path)
    assert found.reason == Reason.IMAGE_OUTSIDE_ROOT
    assert found.sha256 is None
