"""Archives that were made to harm, or by nobody: endless headers, mutated bytes, whatever a library raises on them: one line."""

import contextlib
import gzip
import io
import random
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tinyllava_core.data.files.archive import unpack
from tinyllava_core.errors import BadInput

sys.path.insert(0, str(Path(__file__).parent))
from archives import FILES, make, make_tar, make_zip, tree


def header(kind, size):
    """Give the header of a member that says something about the next one, of any length."""
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


HEADERS = [
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
]


@pytest.mark.parametrize("before", [b"", b"a member"], ids=["first", "second"])
@pytest.mark.parametrize("kind", HEADERS)
@pytest.mark.parametrize("packed", [False, True])
def test_a_header_of_a_gigabyte_is_refused_unread(tmp_path, kind, before, packed):
    data = header(kind, 1 << 30) + bytes(1024)
    if before:
        first = tarfile.TarInfo("a.jpg")
        first.size = len(before)
        data = first.tobuf() + before.ljust(512, b"\0") + data
    (tmp_path / "a.tar").write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(BadInput, match=r"a\.tar: broken archive: a member's headers have more than 1048576 bytes"):
        unpack(tmp_path / "a.tar", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_headers_for_all_members_do_not_pile_up(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for number in range(30):
            tar.fileobj.write(tarfile.TarInfo.create_pax_global_header({f"k{number}": "x" * 60_000}))
            tar.offset = tar.fileobj.tell()
            tar.addfile(tarfile.TarInfo(f"{number}.jpg"))
    with pytest.raises(BadInput, match="its headers for all members have more than 1048576 bytes"):
        unpack(tmp_path / "a.tar", tmp_path / "out")


def test_a_packed_header_of_half_a_gigabyte_takes_no_memory(tmp_path):
    with gzip.open(tmp_path / "a.tar.gz", "wb", compresslevel=1) as file:
        file.write(header(tarfile.GNUTYPE_LONGNAME, 500 << 20))
        for _ in range(500):
            file.write(bytes(1 << 20))
    script = """
import resource, sys
from pathlib import Path
from tinyllava_core.data.files.archive import unpack
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    unpack(Path(sys.argv[1]), Path(sys.argv[2]))
except ValueError as error:
    print(error, file=sys.stderr)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    command = [sys.executable, "-c", script, str(tmp_path / "a.tar.gz"), str(tmp_path / "out")]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "a member's headers have more than" in ran.stderr
    assert int(ran.stdout) < 20_000, "kB more than before"


def test_a_long_name_of_a_usual_length_is_none_of_these(tmp_path):
    long = {"/".join(["folder" * 10] * 20) + "/a.jpg": b"x"}  # 1.2 kB: behind a GNU or PAX header
    for format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(tmp_path / f"{format}.tar", "w", format=format) as tar:
            for name, data in long.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        unpack(tmp_path / f"{format}.tar", tmp_path / f"out{format}")
        assert tree(tmp_path / f"out{format}") == long


def test_whatever_a_library_raises_on_a_strangers_bytes_is_one_line(tmp_path, monkeypatch):
    path = make_zip(tmp_path / "a.zip", FILES)

    def odd(*args):
        raise KeyError("odd")

    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "open", odd)
        with pytest.raises(BadInput, match=r"^a\.zip: broken archive: unforeseen: KeyError: 'odd'; download it again$"):
            unpack(path, tmp_path / "out")
    path = make_tar(tmp_path / "a.tar", FILES)
    with monkeypatch.context() as patch:
        patch.setattr(tarfile.TarFile, "next", odd)
        with pytest.raises(BadInput, match=r"^a\.tar: broken archive: unforeseen: KeyError: 'odd'"):
            unpack(path, tmp_path / "out")
    with pytest.raises(KeyError):  # what is ours stays ours
        unpack(path, tmp_path / "out", on_files=odd)


@pytest.mark.parametrize("kind", ["zip", "w", "w:gz", "zst"])
def test_a_mutated_archive_comes_out_or_is_one_line(tmp_path, kind):
    whole = make(kind, tmp_path / "whole", FILES).read_bytes()
    chance = random.Random(f"{kind} 0")
    for number in range(300):
        data = bytearray(whole)
        for _ in range(chance.choice([1, 1, 2, 8])):
            data[chance.randrange(len(data))] = chance.choice([0, 255, chance.randrange(256)])
        (tmp_path / "a").write_bytes(data[: chance.choice([len(data), chance.randrange(len(data))])])
        with contextlib.suppress(BadInput):
            unpack(tmp_path / "a", tmp_path / f"out{number}")


def test_a_member_that_is_passed_over_is_as_large_as_it_can_be_at_most(tmp_path):
    """Python's tarfile passes over a packed tar's bytes 10 kB at a time, also behind its end: for this size, some hours."""
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        large = tarfile.TarInfo("a.jpg")
        large.pax_headers = {"size": "9" * 15}
        tar.addfile(large)
        tar.addfile(tarfile.TarInfo("b.png"))
    with pytest.raises(BadInput, match="refused as a bomb"):
        unpack(path, tmp_path / "out", only=("*.png",))
    assert list(tmp_path.iterdir()) == [path]
