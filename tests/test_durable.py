"""A power cut at any moment: what has its name on the disk is whole. Recorded: what was synced, and what was there at each rename."""

from __future__ import annotations

import gzip
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tinyllava_core import durable
from tinyllava_core.artifact import make_once, write_aside
from tinyllava_core.data.files.archive import merge
from tinyllava_core.data.files.packed import unpack_file
from tinyllava_core.data.inspect.tables import write_whole
from tinyllava_core.errors import BadInput
from tinyllava_core.lineage.fragments import leave


@dataclass
class Disk:
    """A disk that loses all that was not synced: files by inode with their bytes, folders by inode with their names."""

    files: dict[int, bytes] = field(default_factory=dict)
    folders: dict[int, dict[str, int]] = field(default_factory=dict)
    renamed: list[Path] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)  # what a power cut just behind a rename would have lost

    def synced(self, path: Path) -> None:
        about = path.stat()
        if stat.S_ISDIR(about.st_mode):
            self.folders[about.st_ino] = {entry.name: entry.inode() for entry in os.scandir(path)}
        else:
            self.files[about.st_ino] = path.read_bytes()

    def lost(self, path: Path) -> Iterator[str]:
        """Say what of a file or a folder would not come back."""
        for inner in [path, *path.rglob("*")]:
            about = inner.stat()
            if inner.is_dir():
                names = {entry.name: entry.inode() for entry in os.scandir(inner)}
                if self.folders.get(about.st_ino) != names:
                    yield f"the names in {inner}"
            elif self.files.get(about.st_ino) != inner.read_bytes():
                yield f"the bytes of {inner}"


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    found = Disk()
    fsync, rename = os.fsync, os.rename

    def recorded_fsync(held: int) -> None:
        fsync(held)
        found.synced(Path(f"/proc/self/fd/{held}").readlink())

    def recorded_rename(old: os.PathLike[str], new: os.PathLike[str]) -> None:
        found.torn += found.lost(Path(old))  # the name may reach the disk at once, before anything else
        found.renamed.append(Path(new))
        rename(old, new)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "rename", recorded_rename)
    return found


def holds(disk: Disk, path: Path) -> bool:
    """Tell whether a power cut now would leave this name, and all that it stands for."""
    names = disk.folders.get(path.parent.stat().st_ino, {})
    return names.get(path.name) == path.stat().st_ino and not list(disk.lost(path))


@dataclass
class Made:
    size: int


def make(folder: Path) -> Made:
    (folder / "deep" / "er").mkdir(parents=True)
    for name in ("a.bin", "deep/b.bin", "deep/er/c.bin"):
        (folder / name).write_bytes(name.encode() * 1000)
    (folder / "empty").mkdir()
    return Made(size=3)


def test_an_artifact_is_on_the_disk_before_its_name_is(tmp_path: Path, disk: Disk) -> None:
    made = make_once(tmp_path, "mix", 1, {"a": 1}, {}, make)
    assert made.folder in disk.renamed
    assert disk.torn == []
    assert holds(disk, made.folder)


def test_the_recorder_sees_what_a_bare_rename_would_lose(tmp_path: Path, disk: Disk) -> None:
    (tmp_path / "aside").write_text("x")
    (tmp_path / "aside").rename(tmp_path / "final")
    assert disk.torn == [f"the bytes of {tmp_path / 'aside'}"]
    assert not holds(disk, tmp_path / "final")


def test_small_files_and_lineage_rows_and_parts_are_too(tmp_path: Path, disk: Disk) -> None:
    import pyarrow as pa

    write_aside(tmp_path / "a.json", "{}")
    write_whole(pa.table({"a": [1]}), tmp_path / "part.parquet")
    leave(tmp_path, "edge", "key", [{"fingerprint": "a", "input": "b", "input_fingerprint": "c"}])
    fragment = tmp_path / "lineage" / "fragments" / "edge" / "key.parquet"
    assert disk.torn == []
    for file in (tmp_path / "a.json", tmp_path / "part.parquet", fragment):
        assert holds(disk, file), file


def test_what_is_unpacked_is_too(tmp_path: Path, disk: Disk) -> None:
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(b"[]"))
    unpack_file(tmp_path / "a.json.gz", tmp_path / "a.json")
    staging, into = tmp_path / "staging", tmp_path / "into"
    for folder in (staging, into):
        (folder / "inner").mkdir(parents=True)
    (into / "inner" / "old.jpg").write_bytes(b"old")
    (staging / "inner" / "new.jpg").write_bytes(b"new")
    merge("a.zip", staging, into)
    assert disk.torn == []
    assert [path.name for path in disk.renamed] == ["a.json", "new.jpg"]
    assert "new.jpg" in disk.folders[(into / "inner").stat().st_ino]


def test_many_files_are_synced_with_their_file_system_at_once(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def whole_system(path: Path) -> bool:
        asked.append(path)
        for inner in [path, *path.rglob("*")]:
            disk.synced(inner)
        return durable_sync(path)

    durable_sync = durable._sync_file_system
    monkeypatch.setattr(durable, "_sync_file_system", whole_system)
    monkeypatch.setattr(durable, "MANY", 3)
    made = make_once(tmp_path, "mix", 1, {"a": 1}, {}, make)
    assert [path.name for path in asked] == [f".{made.fingerprint}.partial"]
    assert disk.torn == []
    assert durable_sync(tmp_path)


def test_a_link_is_not_followed_out_of_the_folder(tmp_path: Path, disk: Disk) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "broken").symlink_to(tmp_path / "nowhere")
    durable.sync(tmp_path / "in")
    assert tmp_path.joinpath("in").stat().st_ino in disk.folders


def test_a_fragment_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk: the row is lost with one error, and no partial stays."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        leave(tmp_path, "edge", "key", [{"fingerprint": "a", "input": "b", "input_fingerprint": "c"}])
    assert list((tmp_path / "lineage" / "fragments" / "edge").iterdir()) == []


def test_a_training_state_is_on_the_disk_before_its_name_is(tmp_path: Path, disk: Disk) -> None:
    from tinyllava_core.train.ledger import _Writer

    final, aside = tmp_path / "resume" / "step-00000010", tmp_path / "resume" / ".partial"
    aside.mkdir(parents=True)
    writer = _Writer(final, aside, lambda: (aside / "state.pt").write_bytes(b"weights" * 1000) and None)
    writer.run()
    assert writer.fault is None
    assert final in disk.renamed
    assert disk.torn == []
    assert holds(disk, final)


def test_no_file_takes_the_place_of_a_device_a_pipe_or_a_socket(tmp_path: Path) -> None:
    """`--out /dev/null` made a plain file of it, for everybody."""
    os.mkfifo(pipe := tmp_path / "pipe")
    with pytest.raises(
        BadInput, match="pipe: is a device, a pipe or a socket, which a file would replace; name a file"
    ):
        write_aside(pipe, "a")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_link_that_somebody_planted_beside_a_file_is_not_written_through(tmp_path: Path) -> None:
    (target := tmp_path / "mine").write_text("mine")
    (tmp_path / ".a.json.partial").symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        write_aside(tmp_path / "a.json", "{}")
    assert target.read_text() == "mine"
