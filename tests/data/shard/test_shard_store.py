"""Shards in a store: the tars of an S3 server on this machine are those of the disk, and whoever reads them cannot tell."""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tinyllava_core.data.shard.read import ShardReader
from tinyllava_core.data.shard.shard import shard
from tinyllava_core.data.web import remote, tar_store
from tinyllava_core.errors import BadInput
from tinyllava_core.settings.shard import Shard


@pytest.fixture
def store(bucket: str) -> str:
    return f"{bucket}/{uuid.uuid4().hex}"


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the disk of whatever machine this is have room for tars."""
    monkeypatch.setattr(tar_store, "_LEFT_FREE", 0.0)


def sharded(world: Any, out: Path, store: str | None = None) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    shard(*world, Shard(records_per_shard=4, store=store), out, processes=1)
    return out


def workspace(tmp_path: Path, name: str) -> Path:
    return tmp_path / name / "artifacts" / "shard" / "0123456789abcdef"


def everything(folder: Path) -> list[Any]:
    reader = ShardReader(folder)
    return [(reader.turns(row), reader.images(row)) for row in range(len(reader))]


def test_the_store_holds_the_tars_of_the_disk_and_the_folder_keeps_none(tmp_path: Path, world: Any, store: str) -> None:
    here, there = sharded(world, workspace(tmp_path, "here")), sharded(world, workspace(tmp_path, "there"), store)
    rows = pq.read_table(there / "shards.parquet").to_pylist()
    assert len(rows) == 4
    for row in rows:
        data = remote.read_range(row["url"], 0, row["size_bytes"])
        assert data == (here / row["name"]).read_bytes()
        assert row["url"] == f"{store}/{hashlib.sha256(data).hexdigest()}.tar"
    assert not list(there.glob("*.tar"))
    assert (there / "index.parquet").read_bytes() == (here / "index.parquet").read_bytes()
    assert store in (there / "README.md").read_text()


def test_what_is_read_from_the_store_is_what_is_read_from_the_disk(
    tmp_path: Path, world: Any, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = everything(sharded(world, workspace(tmp_path, "here")))
    there = sharded(world, workspace(tmp_path, "there"), store)
    assert everything(there) == here
    cached = tmp_path / "there" / "cache" / "tars"
    assert len(list(cached.glob("*.tar"))) == 4
    for tar in cached.glob("*.tar"):
        tar.unlink()
    monkeypatch.setattr(tar_store, "_has_room", lambda *_: False)  # a full disk: piece by piece, from the store
    assert everything(there) == here
    assert not list(cached.glob("*.tar"))


def test_a_killed_sharding_uploads_only_what_the_store_does_not_have(
    tmp_path: Path, world: Any, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = sharded(world, workspace(tmp_path, "whole"), f"{store}/whole")
    true_upload, uploads = remote.upload, []

    def dies(file: Path, url: str) -> Any:
        if len(uploads) == 2:
            uploads.append("killed")
            raise KeyboardInterrupt
        uploads.append(url)
        return true_upload(file, url)

    monkeypatch.setattr(remote, "upload", dies)
    out = workspace(tmp_path, "killed")
    with pytest.raises(KeyboardInterrupt):
        sharded(world, out, store)
    sharded(world, out, store)
    assert len([url for url in uploads if url != "killed"]) == 4
    assert len(set(uploads)) == 5
    killed, calm = (pq.read_table(folder / "shards.parquet").drop(["url"]) for folder in (out, whole))
    assert killed == calm
    assert everything(out) == everything(whole)


def test_other_bytes_in_the_store_are_one_clear_error(tmp_path: Path, world: Any, store: str) -> None:
    there = sharded(world, workspace(tmp_path, "there"), store)
    url = pq.read_table(there / "shards.parquet")["url"][0].as_py()
    (tmp_path / "other").write_bytes(b"other bytes")
    remote.upload(tmp_path / "other", url)
    with pytest.raises(BadInput, match="the store has other bytes than were put there"):
        ShardReader(there).turns(0)


def test_a_store_that_is_no_url_is_refused() -> None:
    with pytest.raises(BadInput, match="'shards' is no URL of a store"):
        Shard.parse({"store": "shards"}, "test")
