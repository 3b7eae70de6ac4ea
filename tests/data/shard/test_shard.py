import hashlib
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tinyllava_core.data.shard.shard import shard
from tinyllava_core.errors import BadInput
from tinyllava_core.settings.shard import Shard


def sharded(world, out: Path, records_per_shard: int = 4, **settings):
    out.mkdir(exist_ok=True)
    return shard(*world, Shard(records_per_shard=records_per_shard, **settings), out)


def test_the_tars_hold_the_mix_in_its_order_with_the_files_own_bytes(tmp_path, world, photos):
    result = sharded(world, tmp_path / "out")
    assert (result.num_shards, result.num_records) == (4, 14)  # 4 + 4 + 4 + 2
    order = pq.read_table(world[0] / "mix.parquet").to_pylist()
    names = []
    for number in range(4):
        with tarfile.open(tmp_path / "out" / f"shard-{number:06d}.tar") as tar:
            for member in tar.getmembers():
                names.append(member.name)
                assert (member.mtime, member.uid, member.gid, member.uname, member.gname, member.mode) == (
                    0,
                    0,
                    0,
                    "",
                    "",
                    0o644,
                )
                data = tar.extractfile(member).read()
                if member.name.endswith(".json"):
                    body = json.loads(data)
                    row = order[int(member.name[:9])]
                    assert (body["record_id"], body["source"]) == (row["record_id"], row["source"])
                    wanted = [photos[image["path"]] for image in body["images"]]
                    assert [hashlib.sha256(one).hexdigest() for one in wanted] == [
                        image["sha256"] for image in body["images"]
                    ]
                else:
                    assert data == wanted.pop(0)
    assert [name for name in names if name.endswith(".json")] == [f"{position:09d}.json" for position in range(14)]
    endings = {name[9:] for name in names}
    assert endings == {".json", ".jpg", ".png", ".0.png", ".1.jpg"}


def test_the_index_leads_to_every_byte(tmp_path, world, photos):
    sharded(world, tmp_path / "out")
    index = pq.read_table(tmp_path / "out" / "index.parquet").to_pylist()
    assert [(row["position"], row["shard"], row["place"]) for row in index] == [(n, n // 4, n % 4) for n in range(14)]
    for row in index:
        tar = (tmp_path / "out" / f"shard-{row['shard']:06d}.tar").read_bytes()
        body = json.loads(tar[row["json_offset"] : row["json_offset"] + row["json_size"]])
        assert (body["record_id"], body["source"]) == (row["record_id"], row["source"])
        assert row["key"] == f"{row['position']:09d}"
        assert row["num_images"] == len(body["images"])
        places = zip(row["image_offsets"], row["image_sizes"], strict=True)
        found = [tar[offset : offset + size] for offset, size in places]
        assert found == [photos[image["path"]] for image in body["images"]]
        assert row["image_sha256"] == [image["sha256"] for image in body["images"]]


def test_shards_parquet_and_the_result_name_the_bytes(tmp_path, world):
    result = sharded(world, tmp_path / "out")
    shards = pq.read_table(tmp_path / "out" / "shards.parquet").to_pylist()
    tars = [(tmp_path / "out" / row["name"]).read_bytes() for row in shards]
    assert [row["sha256"] for row in shards] == [hashlib.sha256(tar).hexdigest() for tar in tars]
    assert [row["size_bytes"] for row in shards] == [len(tar) for tar in tars]
    assert [row["num_records"] for row in shards] == [4, 4, 4, 2]
    assert result.size_bytes == sum(map(len, tars))
    assert result.sha256 == hashlib.sha256("".join(row["sha256"] for row in shards).encode()).hexdigest()


def test_the_same_mix_gives_the_same_bytes(tmp_path, world):
    first, second = sharded(world, tmp_path / "first"), sharded(world, tmp_path / "second")
    assert first == second
    files = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert files == ["README.md", "index.parquet", *(f"shard-{n:06d}.tar" for n in range(4)), "shards.parquet"]
    for name in files:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_a_picture_that_changed_since_is_named(tmp_path, world, photos):
    path = world[1][0].images.places[0].folder / "camera.png"
    path.write_bytes(photos["coffee.png"])
    with pytest.raises(BadInput, match=r"camera\.png: has changed since it was inspected"):
        sharded(world, tmp_path / "out")


def test_a_picture_that_is_gone_is_named(tmp_path, world):
    (world[1][0].images.places[0].folder / "camera.png").unlink()
    with pytest.raises(BadInput, match=r"camera\.png: was there when it was inspected, now: No such file"):
        sharded(world, tmp_path / "out")


def test_a_mix_of_other_records_is_refused(tmp_path, world):
    mixed, sources = world
    with pytest.raises(BadInput, match="the mix holds records of text; shard was given photos"):
        sharded((mixed, sources[:1]), tmp_path / "a")
    table = pq.read_table(mixed / "mix.parquet")
    ids = pa.array(["text-00000009" if one == "text-00000001" else one for one in table["record_id"].to_pylist()])
    pq.write_table(table.set_column(1, "record_id", ids), mixed / "mix.parquet")
    with pytest.raises(BadInput, match="source 'text' has no record 'text-00000009'"):
        sharded(world, tmp_path / "b")


def test_progress_is_told_by_the_tar(tmp_path, world):
    told = []
    shard(*world, Shard(records_per_shard=5), tmp_path / "out", on_progress=told.append)
    assert [(progress.done, progress.total) for progress in told] == [(5, 14), (10, 14), (14, 14)]
