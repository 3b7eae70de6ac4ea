import gzip
import io
import os
import shutil
import stat
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tinyllava_core.data.files import archive as module
from tinyllava_core.data.files.archive import Unpacked, safe_path, unpack
from tinyllava_core.errors import BadInput

sys.path.insert(0, str(Path(__file__).parent))
from archives import FILES, make, make_tar, make_zip, tree


@pytest.mark.parametrize("kind", ["zip", "w", "w:gz", "w:xz", "w:bz2", "zst"])
def test_an_archive_of_any_kind_comes_out_whole_whatever_its_name(tmp_path, kind):
    path = tmp_path / "archive.dat"
    make(kind, path, FILES)
    told = []
    assert unpack(path, tmp_path / "out", on_files=told.append) == Unpacked(num_files=3, size_bytes=15)
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
    assert not (tmp_path / "out").exists()


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
    assert not (tmp_path / "out").exists(), "all or nothing"


def test_one_name_twice_is_refused(tmp_path):
    unpack(make_zip(tmp_path / "a.zip", {"x/1.jpg": b"a"}), tmp_path / "out")
    with pytest.raises(BadInput, match=r"b\.zip: 'x/1\.jpg' is there twice; give each archive its own `into`"):
        unpack(make_zip(tmp_path / "b.zip", {"x/1.jpg": b"b"}), tmp_path / "out")


def test_a_name_that_is_file_and_folder_is_refused(tmp_path):
    with pytest.raises(BadInput, match="one name is both a file and a folder"):
        unpack(make_zip(tmp_path / "a.zip", {"x": b"a", "x/y": b"b"}), tmp_path / "out")


@pytest.mark.parametrize(
    ("kind", "fault"),
    # a plain tar has no checksum of its contents, nor has zstd as pyarrow writes it: what is flipped there, inspect finds in the picture, if anybody
    [
        *((kind, "cut") for kind in ("zip", "w", "w:gz", "w:xz", "w:bz2", "zst")),
        *((kind, "flipped") for kind in ("zip", "w:gz", "w:xz", "w:bz2")),
    ],
)
def test_a_broken_archive_says_so(tmp_path, kind, fault):
    path = make(kind, tmp_path / "a", {f"{n}.jpg": os.urandom(10_000) for n in range(3)})
    data = bytearray(path.read_bytes())
    if fault == "cut":
        data = data[: len(data) // 2]
    else:
        data[5000:5010] = bytes(255 - byte for byte in data[5000:5010])
    path.write_bytes(data)
    with pytest.raises(BadInput, match=r"broken archive|neither a zip nor a tar"):
        unpack(path, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [path], "all or nothing"


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


NESTED = {
    "data/cats/images/1.jpg": b"1",
    "data/dogs/images/d/2.jpg": b"22",
    "data/list.txt": b"names",
    "__MACOSX/x": b"m",
}


@pytest.mark.parametrize("kind", ["zip", "w"])
@pytest.mark.parametrize(
    ("options", "found", "left_out"),
    [
        ({"strip": "data/cats/images"}, {"1.jpg": b"1"}, 3),
        ({"strip": "data/cats/images/"}, {"1.jpg": b"1"}, 3),
        ({"strip": "data/*/images"}, {"1.jpg": b"1", "d/2.jpg": b"22"}, 2),
        ({"only": ["*.jpg"]}, {"data/cats/images/1.jpg": b"1", "data/dogs/images/d/2.jpg": b"22"}, 2),
        ({"strip": "data", "only": ["cats/*", "list.txt"]}, {"cats/images/1.jpg": b"1", "list.txt": b"names"}, 2),
    ],
)
def test_leading_folders_are_taken_off_and_only_what_is_asked_for_comes_out(tmp_path, kind, options, found, left_out):
    path = make(kind, tmp_path / "a", NESTED)
    result = unpack(path, tmp_path / "out", **options)
    assert tree(tmp_path / "out") == found
    assert (result.num_files, result.num_left_out) == (len(found), left_out)


def test_asking_for_what_is_not_there_says_what_is(tmp_path):
    path = make_zip(tmp_path / "a.zip", NESTED)
    with pytest.raises(
        BadInput, match=r"a\.zip: none of its 4 files is what the manifest asks for \(strip 'image', members"
    ):
        unpack(path, tmp_path / "out", strip="image")


def test_two_folders_that_fall_together_by_stripping_do_not_lose_a_file(tmp_path):
    path = make_zip(tmp_path / "a.zip", {"a/images/1.jpg": b"1", "b/images/1.jpg": b"2"})
    with pytest.raises(BadInput, match=r"'b/images/1\.jpg' is there twice"):
        unpack(path, tmp_path / "out", strip="*/images")


def test_names_that_differ_in_case_alone_are_both_kept_or_refused_never_lost(tmp_path, monkeypatch):
    path = make_zip(tmp_path / "a.zip", {"Cat.jpg": b"1", "cat.jpg": b"2"})
    unpack(path, tmp_path / "out")
    assert tree(tmp_path / "out") == {"Cat.jpg": b"1", "cat.jpg": b"2"}
    monkeypatch.setattr(module, "_folds_case", lambda folder: True)
    with pytest.raises(BadInput, match=r"'Cat\.jpg' and 'cat\.jpg' differ in case alone"):
        unpack(path, tmp_path / "other")
    accents = make_zip(tmp_path / "b.zip", {"\u00e9.jpg": b"1", "e\u0301.jpg": b"2"})
    with pytest.raises(BadInput, match="differ in case alone"):
        unpack(accents, tmp_path / "other")


def test_a_million_empty_files_are_a_bomb_too(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FREE_BYTES", 1000)
    path = make_tar(tmp_path / "a.tar.gz", {f"{n:06d}": b"" for n in range(20_000)}, "w:gz")
    monkeypatch.setattr(module, "LARGEST_RATIO", 20_000 * 512 // path.stat().st_size - 1)
    with pytest.raises(BadInput, match="refused as a bomb"):
        unpack(path, tmp_path / "out")


def test_a_zip_whose_names_are_no_utf8_is_broken(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("ä.png", b"x")
    data = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(data.replace(b"\xc3\xa4", b"\xc3("))
    with pytest.raises(
        BadInput, match=r"^a\.zip: broken archive: unforeseen: UnicodeDecodeError: .*; download it again$"
    ):
        unpack(tmp_path / "a.zip", tmp_path / "into")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_a_zip_that_declares_less_than_it_holds_is_broken(tmp_path):
    path = make_zip(tmp_path / "a.zip", {"a": bytes(100_000)})
    data = bytearray(path.read_bytes())
    directory = data.rindex(b"PK\x01\x02")
    data[directory + 24 : directory + 28] = struct.pack("<I", 10)  # the uncompressed size
    path.write_bytes(data)
    with pytest.raises(BadInput, match=r"a\.zip: broken archive"):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_entries_that_share_their_bytes_count_each(tmp_path, monkeypatch):
    """A zip whose directory names the same 1 MB of zeros two hundred times: 200 MB in a few kB."""
    monkeypatch.setattr(module, "FREE_BYTES", 1000)
    path = make_zip(tmp_path / "a.zip", {"a": bytes(1_000_000)})
    with zipfile.ZipFile(path, "a") as zipped:
        first = zipped.infolist()[0]
        for number in range(200):
            info = zipfile.ZipInfo(f"a{number}")
            for key in ("compress_type", "compress_size", "file_size", "CRC", "header_offset"):
                setattr(info, key, getattr(first, key))
            zipped.filelist.append(info)
        zipped._didModify = True
    with pytest.raises(BadInput, match="refused as a bomb"):
        unpack(path, tmp_path / "out")


@pytest.mark.parametrize("kind", ["w", "w:gz"])
def test_a_tar_that_was_cut_between_two_files_does_not_pass_for_whole(tmp_path, kind):
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for name in ("1", "2", "3"):
            member = tarfile.TarInfo(name)
            member.size = 512
            tar.addfile(member, io.BytesIO(bytes([65]) * 512))
    cut = whole.getvalue()[: 2 * 1024]  # a header and 512 bytes each: two of three files
    (tmp_path / "a").write_bytes(cut if kind == "w" else gzip.compress(cut))
    with pytest.raises(BadInput, match="broken archive: it ends without its end mark"):
        unpack(tmp_path / "a", tmp_path / "out")


@pytest.mark.parametrize("kind", ["zip", "w"])
def test_a_disk_that_is_too_small_is_one_error_and_leaves_nothing(tmp_path, monkeypatch, kind):
    path = make(kind, tmp_path / "a", {"1.jpg": os.urandom(3_000_000)})
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 65 << 20}))
    with pytest.raises(
        BadInput, match=r"^a(: '1\.jpg')?: needs 3\.0 MB more on the disk of .*, where 68\.2 MB are free"
    ):
        unpack(path, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE])
def test_a_name_that_no_disk_can_hold_is_refused(tmp_path, kind):
    path = make_tar(tmp_path / "a.tar", {"x" * 300: b""}, type=kind)
    with pytest.raises(BadInput, match="has a name that this disk cannot hold"):
        unpack(path, tmp_path / "out")


def test_a_sparse_file_counts_as_what_it_unpacks_to(tmp_path, monkeypatch):
    if shutil.which("tar") is None:
        pytest.skip("no tar to make one with")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(50_000_000)
    command = ["tar", "--sparse", "-cf", str(tmp_path / "a.tar"), "-C", str(tmp_path), "sparse"]
    subprocess.run(command, check=True)
    monkeypatch.setattr(module, "FREE_BYTES", 1000)
    assert (tmp_path / "a.tar").stat().st_size < 100_000
    with pytest.raises(BadInput, match="refused as a bomb"):
        unpack(tmp_path / "a.tar", tmp_path / "out")


def test_kill_9_in_the_middle_leaves_no_half_folder_and_the_next_call_makes_it_whole(tmp_path):
    path = make_zip(tmp_path / "a.zip", {f"{n}.jpg": bytes([n]) * 100 for n in range(20)})
    slow = "import sys, time; from pathlib import Path; from tinyllava_core.data.files.archive import unpack\n"
    slow += "unpack(Path(sys.argv[1]), Path(sys.argv[2]), on_files=lambda done: (print(done, flush=True), time.sleep(0.05)))"
    process = subprocess.Popen(
        [sys.executable, "-c", slow, str(path), str(tmp_path / "out")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while process.stdout.readline() != "5\n":
        pass
    process.kill()
    process.wait()
    assert not (tmp_path / "out").exists()
    assert (tmp_path / ".out.unpacking").is_dir(), "killed too late"
    assert unpack(path, tmp_path / "out").num_files == 20
    assert tree(tmp_path / "out") == {f"{n}.jpg": bytes([n]) * 100 for n in range(20)}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.zip", "out"]


def test_a_second_archive_is_added_whole_or_not_at_all(tmp_path):
    unpack(make_zip(tmp_path / "a.zip", {"x/1": b"1", "y/2": b"2"}), tmp_path / "out")
    unpack(make_zip(tmp_path / "b.zip", {"x/3": b"3", "z": b"4"}), tmp_path / "out")
    with pytest.raises(BadInput, match="is there twice"):
        unpack(make_zip(tmp_path / "c.zip", {"a/5": b"5", "x/1": b"other"}), tmp_path / "out")
    assert tree(tmp_path / "out") == {"x/1": b"1", "y/2": b"2", "x/3": b"3", "z": b"4"}
