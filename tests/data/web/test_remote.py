"""Remote files: the same behaviour on an S3 server, in memory and behind file://."""

import os
import sys
import uuid

import fsspec.core
import pytest

from tinyllava_core.data.files.schemes import is_remote
from tinyllava_core.data.web import remote
from tinyllava_core.errors import BadInput

DATA = bytes(range(256)) * 40


@pytest.fixture(params=["s3", "memory", "file"])
def folder(request, tmp_path):
    """A remote folder of each kind, which holds `deep/a.bin`."""
    if request.param == "s3":
        root = f"{request.getfixturevalue('bucket')}/{uuid.uuid4().hex}"
    else:
        root = f"memory://{uuid.uuid4().hex}" if request.param == "memory" else f"file://{tmp_path}/store"
    remote.write_bytes(f"{root}/deep/a.bin", DATA)
    return root


@pytest.mark.parametrize(
    ("path", "remote_one"),
    [
        ("s3://b/a.tar", True),
        ("gs://b/a", True),
        ("file:///a", True),
        ("memory://a", True),
        ("https://h/a", False),
        ("toyworld://a/b", False),
        ("pictures/s3", False),
        ("/a/b", False),
        ("s3", False),
    ],
)
def test_a_path_is_remote_by_its_scheme(path, remote_one):
    assert is_remote(path) is remote_one


def test_a_file_is_there_with_its_size_and_its_bytes(folder):
    path = remote.join(folder, "deep", "a.bin")
    assert remote.exists(path)
    assert remote.size(path) == 10240
    assert remote.read_bytes(path) == DATA
    with remote.open_file(path) as file:
        file.seek(10)
        assert file.read(3) == b"\x0a\x0b\x0c"


@pytest.mark.parametrize(
    ("start", "num_bytes", "found"),
    [
        (255, 3, b"\xff\x00\x01"),
        (0, 0, b""),
        (10238, 100, b"\xfe\xff"),
        (10240, 5, b""),
        (99999, 5, b""),
    ],
)
def test_a_range_is_read_and_the_end_is_the_end(folder, start, num_bytes, found):
    assert remote.read_range(f"{folder}/deep/a.bin", start, num_bytes) == found


def test_what_is_written_is_found_by_others_and_listed(folder, tmp_path):
    with remote.open_file(f"{folder}/new/b.bin", "wb") as file:
        file.write(b"b")
    (tmp_path / "c").write_bytes(b"cc")
    remote.upload(tmp_path / "c", f"{folder}/new/c.bin")
    system, inner = fsspec.core.url_to_fs(folder)
    found = sorted(name.removeprefix(inner.rstrip("/")) for name in system.find(inner))
    assert found == ["/deep/a.bin", "/new/b.bin", "/new/c.bin"]
    assert remote.read_bytes(f"{folder}/new/c.bin") == b"cc"


def test_a_file_can_be_removed_and_removed_again(folder):
    for _ in range(2):
        remote.remove(f"{folder}/deep/a.bin")
        assert not remote.exists(f"{folder}/deep/a.bin")


def test_the_identity_changes_with_the_bytes_even_at_the_same_size(folder):
    path = f"{folder}/deep/a.bin"
    before = remote.identity(path)
    assert remote.identity(path) == before
    remote.write_bytes(path, DATA[::-1])
    assert remote.identity(path) != before


@pytest.mark.parametrize("ask", [remote.size, remote.identity, remote.read_bytes, remote.open_file])
def test_a_missing_file_is_the_users_matter(folder, ask):
    with pytest.raises(BadInput, match=r"none\.bin: no such file in the store"):
        ask(f"{folder}/none.bin")


def test_a_copy_goes_on_after_a_kill_with_the_same_file_and_no_other(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "_BLOCK", 4000)
    path, asked = f"{folder}/deep/a.bin", []
    read = remote.read_range
    monkeypatch.setattr(remote, "read_range", lambda *at: asked.append(at[1:]) or read(*at))

    def killed(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        remote.copy_here(path, tmp_path / "a", killed)
    told = []
    remote.copy_here(path, tmp_path / "a", lambda *at: told.append(at))
    assert (tmp_path / "a").read_bytes() == DATA
    assert asked == [(0, 4000), (4000, 4000), (8000, 2240)]
    assert told == [(8000, 10240), (10240, 10240)]
    assert not list(tmp_path.glob("*.part*"))

    with pytest.raises(KeyboardInterrupt):
        remote.copy_here(path, tmp_path / "b", killed)
    remote.write_bytes(path, DATA[::-1])
    del asked[:]
    remote.copy_here(path, tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == DATA[::-1]
    assert asked[0] == (0, 4000), "the half of the old file is not taken"


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(BadInput, match="gs://b/a: gs:// needs the package gcsfs, which is not installed"):
        remote.size("gs://b/a")


def test_an_unknown_kind_of_store_lists_the_known():
    with pytest.raises(BadInput, match=r"unknown kind of store 's4'; nearest: 's3'\. Known: az, file, gs, memory, s3"):
        remote.size("s4://b/a")


def test_a_store_that_is_not_there_is_a_passing_fault(bucket, monkeypatch):
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        with pytest.raises(ConnectionError, match="s3://b/a: the store did not answer well"):
            remote.size("s3://b/a")
    finally:
        s3fs.S3FileSystem.clear_instance_cache()


def test_missing_keys_are_named(bucket, monkeypatch, tmp_path):
    import s3fs

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        with pytest.raises(BadInput, match="s3://b/a: no keys for the store"):
            remote.write_bytes("s3://b/a", b"")
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
