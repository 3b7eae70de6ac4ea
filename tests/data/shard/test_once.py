"""Tars with equal bytes are one file under two names."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tinyllava_core.data.shard.once import link_equal_tars


def shards(folder: Path, *tars: bytes) -> Path:
    """Write a finished folder of tars, with what is told of them."""
    folder.mkdir(parents=True)
    names = [f"shard-{number:06d}.tar" for number in range(len(tars))]
    for name, data in zip(names, tars, strict=True):
        (folder / name).write_bytes(data)
    table = {"name": names, "sha256": [hashlib.sha256(data).hexdigest() for data in tars]}
    pq.write_table(pa.table(table), folder / "shards.parquet")
    return folder


def test_equal_tars_of_two_artifacts_are_one_file_whatever_their_places(tmp_path: Path) -> None:
    old = shards(tmp_path / "0a", b"one", b"two")
    new = shards(tmp_path / ".0b.partial", b"two", b"three")
    assert link_equal_tars(new) == 1
    assert (new / "shard-000000.tar").samefile(old / "shard-000001.tar")
    assert [(new / f"shard-00000{n}.tar").read_bytes() for n in (0, 1)] == [b"two", b"three"]
    assert sorted(file.name for file in new.iterdir()) == ["shard-000000.tar", "shard-000001.tar", "shards.parquet"]
    assert link_equal_tars(new) == 0


def test_removing_one_leaves_the_other(tmp_path: Path) -> None:
    old, new = shards(tmp_path / "0a", b"one"), shards(tmp_path / ".0b.partial", b"one")
    link_equal_tars(new)
    (old / "shard-000000.tar").unlink()
    assert (new / "shard-000000.tar").read_bytes() == b"one"


def test_a_tar_that_is_gone_or_in_a_store_is_passed_over(tmp_path: Path) -> None:
    old, new = shards(tmp_path / "0a", b"one"), shards(tmp_path / ".0b.partial", b"one")
    (old / "shard-000000.tar").unlink()
    assert link_equal_tars(new) == 0
