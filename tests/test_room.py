"""Room on the disk: asked before, and told in one line when it is gone, by every library that writes here."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors.numpy import save_file

from tinyllava_core import room
from tinyllava_core.artifact import make_once
from tinyllava_core.errors import BadInput


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (27_400_000_000, "27.4 GB"), (5e15, "5000.0 TB")],
)
def test_sizes_are_written_for_people(size_bytes, text):
    assert room.in_words(size_bytes) == text


def test_a_disk_that_is_too_small_is_one_error_with_what_is_needed_and_what_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(room.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1_000_000_000}))
    room.require_free(tmp_path, 900_000_000, "a.zip")
    room.require_free(tmp_path, 0, "a.zip")
    with pytest.raises(
        BadInput, match=r"a\.zip: needs 950\.0 MB more on the disk of .*, where 1\.0 GB are free; make room"
    ):
        room.require_free(tmp_path, 950_000_000, "a.zip")  # 64 MiB are left to others


def parquet(file: Path) -> None:
    pq.write_table(pa.table({"a": np.random.default_rng(0).random(400_000)}), file)


def duckdb_commit(file: Path) -> None:
    with duckdb.connect(str(file)) as connection:
        connection.execute("CREATE TABLE a AS SELECT random() AS x FROM range(400000)")


def duckdb_log(file: Path) -> None:
    with duckdb.connect(str(file)) as connection:
        connection.execute("CREATE TABLE a (x DOUBLE)")
        fill(file.with_name("other"))
        for _ in range(9):
            connection.execute("INSERT INTO a SELECT random() FROM range(9000)")


def sqlite(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE a (x)")
        connection.executemany("INSERT INTO a VALUES (?)", ((b"x" * 1000,) for _ in range(2000)))
        connection.commit()


def fill(file: Path) -> None:
    with suppress(OSError), file.open("wb", 0) as out:
        while out.write(bytes(4096)):
            pass


def picture(file: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (900, 900, 3), np.uint8)).save(file, "PNG")


def tensors(file: Path) -> None:
    save_file({"a": np.zeros(300_000)}, file)


def pickled(file: Path) -> None:
    import torch

    torch.save({"a": torch.zeros(1_000_000)}, file)


@pytest.mark.parametrize(
    "write",
    [
        parquet,
        duckdb_commit,
        duckdb_log,
        sqlite,
        picture,
        tensors,
        pickled,
        lambda file: np.save(file, np.zeros(400_000)),
    ],
)
def test_a_full_disk_is_known_whichever_library_meets_it(small_disk, write):
    folder = small_disk("1m")
    with pytest.raises(Exception) as caught:  # noqa: PT011  each library has its own
        write(folder / "a")
    assert room.is_full(caught.value)
    assert not isinstance(caught.value, BadInput)


def test_other_faults_are_no_full_disk(tmp_path):
    for fault in (OSError(13, "Permission denied"), RuntimeError("CUDA out of memory"), ValueError("9 requested")):
        with pytest.raises(type(fault)), room.told("a", tmp_path):
            raise fault


@dataclass(frozen=True)
class Made:
    """A result."""

    n: int


@pytest.mark.parametrize("resumable", [False, True])
def test_an_artifact_that_finds_no_room_is_one_line_leaves_no_half_and_is_made_once_there_is_room(
    small_disk, resumable
):
    folder = small_disk("1m")

    def make(partial: Path) -> Made:
        (partial / "finished").write_bytes(bytes(300_000))
        (partial / ".next.partial").write_bytes(bytes(600_000))
        (partial / "last").write_bytes(bytes(600_000))
        (partial / ".next.partial").unlink()
        return Made(3)

    def once():
        return make_once(folder, "shard", 1, {}, {}, make, resumable=resumable)

    with pytest.raises(room.DiskFull) as caught:
        once()
    told = str(caught.value)
    assert re.fullmatch(
        r"shard [0-9a-f]{16}: the disk of \S+ is full: [0-9.]+ \w+ are free, 1\.0 MB of it were written; make room and give the "
        "same command again: it goes on from what is finished",
        told,
    )
    left = [path.name for path in (folder / "artifacts").rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert sorted(left) == (["finished", "last"] if resumable else [])
    small_disk("9m", folder)
    assert once().result(Made) == Made(3)
