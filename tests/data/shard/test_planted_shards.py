"""What inspection says must be mended is mended in the tars, to the byte that it announced; the rest are the files' own."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile

import pyarrow.parquet as pq
import pytest
from data.planted import LIMITS, plant
from PIL import Image

from tinyllava_core.data.inspect.inspect import inspect_source
from tinyllava_core.data.mix.mix import mix
from tinyllava_core.data.record.record import InspectedSource
from tinyllava_core.data.shard.shard import shard
from tinyllava_core.errors import BadInput
from tinyllava_core.settings.mix import MixEntry
from tinyllava_core.settings.shard import Shard


@pytest.fixture
def world(tmp_path):
    """The planted conversations, inspected and mixed."""
    chat = plant(tmp_path / "tree")["planted-chat"]
    home, result = chat.downloaded()
    inspected, mixed, out = (tmp_path / name for name in ("inspected", "mixed", "out"))
    for folder in (inspected, mixed, out):
        folder.mkdir()
    inspect_source(home, result, "llava", 1.0, inspected, images=chat.images, limits=LIMITS)
    source = InspectedSource(name=chat.name, records=inspected, images=chat.images)
    mix([(MixEntry(source=chat.name), source)], 0, mixed)
    return mixed, source, out


def test_the_tars_hold_the_bytes_that_inspection_announced(world):
    mixed, source, out = world
    shard(mixed, [source], Shard(), out)
    images = {row["path"]: row for row in pq.read_table(source.records / "images.parquet").to_pylist()}
    mended = kept = 0
    with tarfile.open(out / "shard-000000.tar") as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar.getmembers()}
    for key in sorted(name.removesuffix(".json") for name in members if name.endswith(".json")):
        body = json.loads(members[f"{key}.json"])
        data = [members[name] for name in sorted(members) if name.startswith(f"{key}.") and not name.endswith(".json")]
        for told, found in zip(body["images"], data, strict=True):
            row = images[told["path"]]
            assert hashlib.sha256(found).hexdigest() == (row["repaired_sha256"] or row["sha256"])
            opened = Image.open(io.BytesIO(found))
            assert (opened.size, opened.mode in ("RGB", "L")) == ((row["width"], row["height"]), True)
            assert told["transform"] == ("; ".join(row["repairs"]) if row["repaired_sha256"] else None)
            mended += row["repaired_sha256"] is not None
            kept += row["repaired_sha256"] is None
    assert (mended, {name.rsplit(".", 1)[1] for name in members}) == (7, {"json", "jpg", "png"})
    assert kept > 7


def test_other_bytes_than_announced_stop_the_stage(world):
    mixed, source, out = world
    table = pq.read_table(source.records / "records.parquet")
    rows = table.to_pylist()
    odd = next(image for row in rows for image in row["images"] if image["repaired_sha256"])
    odd["repaired_sha256"] = "0" * 64
    pq.write_table(type(table).from_pylist(rows, table.schema), source.records / "records.parquet")
    with pytest.raises(BadInput, match="mending gives other bytes than when it was inspected: another Pillow"):
        shard(mixed, [source], Shard(), out)
