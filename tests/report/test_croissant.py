"""A run's mixes as Croissant: what stands there is what mix and shard left, and every path leads to its file."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from made_up_run import MadeUp, download, mix

from tinyllava_core.report.croissant import write_croissant
from tinyllava_core.results import MixResult, ShardResult


def mixed(folder: Path) -> MixResult:
    """Three records of two sources, one of which has no component."""
    told = mix(folder, ["toy-chat"])
    columns = {"position": [0, 1, 2], "record_id": ["a", "b", "c"], "source": ["toy-chat", "toy-chat", "toy-places"], "num_images": [1, 0, 1], "of us": [1, 2, 3]}  # fmt: skip
    pq.write_table(pa.table(columns), folder / "mix.parquet")
    return told


def sharded(folder: Path) -> ShardResult:
    (folder / "shard-000000.tar").write_bytes(b"tar")
    rows = [
        {"name": "shard-000000.tar", "sha256": sha256(b"tar").hexdigest(), "url": None},
        {"name": "shard-000001.tar", "sha256": "1" * 64, "url": "s3://bucket/shard-000001.tar"},
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "shards.parquet")
    return ShardResult(num_shards=2, num_records=3, size_bytes=3, sha256="0" * 64)


def test_a_mix_is_told_with_its_sources_licences_files_and_columns(tmp_path: Path) -> None:
    run = MadeUp(tmp_path)
    for name in ("toy-chat", "toy-places"):
        run.make("download", name, {}, lambda to, n=name: download(to, n, "source"))
    made = run.make("mix", "sft", {}, mixed, {"entries": [{"source": "toy-places"}, {"source": "toy-chat"}]})
    run.make("shard", "sft", {}, sharded)
    (tmp_path / "page").mkdir()
    (out,) = write_croissant(run.facts(), tmp_path / "page")
    told = json.loads(out.read_text())
    assert (out.name, told["name"], told["identifier"]) == ("sft.croissant.json", "toy-sft", made.fingerprint)
    assert "60 records of toy-chat, toy-places with 60 pictures" in told["description"]
    assert told["license"] == ["Apache-2.0"]
    table, here, there = told["distribution"]
    for one in (table, here):
        file = (tmp_path / "page" / one["contentUrl"]).resolve()
        assert sha256(file.read_bytes()).hexdigest() == one["sha256"]
    assert there["contentUrl"] == "s3://bucket/shard-000001.tar"
    fields = {one["name"]: one["dataType"] for one in told["recordSet"][0]["field"]}
    assert fields == {"position": "sc:Integer", "record_id": "sc:Text", "source": "sc:Text", "num_images": "sc:Integer"}
    assert told["recordSet"][0]["field"][0]["source"]["fileObject"]["@id"] == table["@id"]


def test_a_mix_from_before_files_were_sealed_has_no_sum(tmp_path: Path) -> None:
    run = MadeUp(tmp_path)
    made = run.make("mix", "sft", {}, mixed, {"entries": [{"source": "toy-chat"}]})
    told = json.loads((made.folder / "result.json").read_text())
    del told["files"], told["sha256"]
    (made.folder / "result.json").write_text(json.dumps(told))
    (out,) = write_croissant(run.facts(), tmp_path)
    assert "sha256" not in json.loads(out.read_text())["distribution"][0]


def test_a_run_that_mixed_nothing_has_none(tmp_path: Path) -> None:
    assert write_croissant(MadeUp(tmp_path).facts(), tmp_path) == []
