import io
import stat
import tarfile
import zipfile

import pytest

from tinyllava_core.data import archive as module
from tinyllava_core.data.archive import Unpacked, safe_path, unpack
from tinyllava_core.errors import BadInput

FILES = {"a.jpg": b"first", "deep/er/b.jpg": b"second one", "empty": b""}


def make_zip(path, files, **info):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, data in files.items():
            member = zipfile.ZipInfo(name)
            member.compress_type = zipfile.ZIP_DEFLATED
            for key, value in info.items():
                setattr(member, key, value)
            zipped.writestr(member, data)
    return path


def make_tar(path, files, mode="w", **info):
    with tarfile.open(path, mode) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            for key, value in info.items():
                setattr(member, key, value)
            tar.addfile(member, io.BytesIO(data))
    return path


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["zip", "w", "w:gz", "w:xz", "w:bz2"])
def test_an_archive_of_any_kind_comes_out_whole_whatever_its_name(tmp_path, kind):
    path = tmp_path / "archive.dat"
    make_zip(path, FILES) if kind == "zip" else make_tar(path, FILES, kind)
    told = []
    assert unpack(path, tmp_path / "out", told.append) == Unpacked(num_files=3, size_bytes=15)
    assert tree(tmp_path / "out") == FILES
    assert told == [1, 2, 3]


def test_folders_are_made_and_permissions_are_ours(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, kind in (
            ("./", tarfile.DIRTYPE),
            ("./pictures/", tarfile.DIRTYPE),
            ("./pictures/a", tarfile.REGTYPE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.mode = kind, 0o4777
            tar.addfile(member)
    unpack(tmp_path / "a.tar", tmp_path / "out")
    assert stat.S_IMODE((tmp_path / "out" / "pictures" / "a").stat().st_mode) & 0o7111 == 0


@pytest.mark.parametrize("name", ["/etc/evil", "../evil", "a/../../evil", "..\\evil", "a/..", ".."])
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_nothing_leaves_the_folder(tmp_path, make, name):
    path = make(tmp_path / "a", {name: b"evil"})
    with pytest.raises(BadInput, match="leaves the folder: refused"):
        unpack(path, tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("*evil*"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_a_tar_with_a_link_or_a_device_is_refused(tmp_path, kind):
    path = make_tar(tmp_path / "a.tar", {"link": b""}, type=kind, linkname="/etc/passwd")
    with pytest.raises(BadInput, match=r"a\.tar: member 'link' is a link or a device: refused"):
        unpack(path, tmp_path / "out")
    assert tree(tmp_path / "out") == {}


def test_a_zip_with_a_link_is_refused(tmp_path):
    path = make_zip(
        tmp_path / "a.zip", {"link": b"/etc/passwd"}, create_system=3, external_attr=(stat.S_IFLNK | 0o777) << 16
    )
    with pytest.raises(BadInput, match="member 'link' is a link or a device: refused"):
        unpack(path, tmp_path / "out")


@pytest.mark.parametrize(("make", "mode"), [(make_zip, None), (make_tar, "w:gz")])
def test_a_bomb_is_refused_before_it_fills_the_disk(tmp_path, monkeypatch, make, mode):
    monkeypatch.setattr(module, "FREE_BYTES", 1000)
    zeros = {"a": b"x", "b": bytes(3_000_000)}  # shrinks a thousandfold
    path = make(tmp_path / "a", zeros, *([mode] if mode else []))
    assert path.stat().st_size * module.LARGEST_RATIO < 3_000_000
    with pytest.raises(BadInput, match="refused as a bomb"):
        unpack(path, tmp_path / "out")
    assert tree(tmp_path / "out") == {"a": b"x"}


def test_one_name_twice_is_refused(tmp_path):
    unpack(make_zip(tmp_path / "a.zip", {"x/1.jpg": b"a"}), tmp_path / "out")
    with pytest.raises(BadInput, match=r"b\.zip: 'x/1\.jpg' is there twice; give each archive its own `into`"):
        unpack(make_zip(tmp_path / "b.zip", {"x/1.jpg": b"b"}), tmp_path / "out")


def test_a_name_that_is_file_and_folder_is_refused(tmp_path):
    with pytest.raises(BadInput, match="one name is both a file and a folder"):
        unpack(make_zip(tmp_path / "a.zip", {"x": b"a", "x/y": b"b"}), tmp_path / "out")


@pytest.mark.parametrize(
    ("kind", "fault"),
    # a plain tar has no checksum of its contents: what is flipped there, inspect finds in the picture, if anybody
    [("zip", "cut"), ("w", "cut"), ("w:gz", "cut"), ("zip", "flipped"), ("w:gz", "flipped")],
)
def test_a_broken_archive_says_so(tmp_path, kind, fault):
    path, files = tmp_path / "a", {f"{n}.jpg": bytes(range(256)) * 40 for n in range(3)}
    make_zip(path, files) if kind == "zip" else make_tar(path, files, kind)
    data = bytearray(path.read_bytes())
    if fault == "cut":
        data = data[: len(data) // 2]
    else:
        data[60:70] = bytes(255 - byte for byte in data[60:70])
    path.write_bytes(data)
    with pytest.raises(BadInput, match=r"broken archive|neither a zip nor a tar"):
        unpack(path, tmp_path / "out")


def test_a_web_page_is_no_archive(tmp_path):
    (tmp_path / "images.zip").write_bytes(b"<html>sign in</html>")
    with pytest.raises(BadInput, match=r"images\.zip: neither a zip nor a tar"):
        unpack(tmp_path / "images.zip", tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "safe"),
    [("a/b.jpg", "a/b.jpg"), ("./a", "a"), ("", None), (".", None), ("a/../b", None), ("/a", None), ("a\0", None)],
)
def test_a_safe_path_is_relative_and_stays_inside(name, safe):
    found = safe_path(name)
    assert (None if found is None else str(found)) == safe
