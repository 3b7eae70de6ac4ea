"""Where the mix is cut: by count, by bytes, never within a record; and what a tar's bytes are."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tinyllava_core.data.files.tar import TarWriter
from tinyllava_core.data.shard.cut import cut
from tinyllava_core.data.shard.shard import prepare, shard
from tinyllava_core.settings.shard import Shard


@pytest.mark.parametrize(
    ("sizes", "count", "limit", "starts"),
    [
        ([10] * 10, 4, 1000, [0, 4, 8, 10]),
        ([10] * 10, None, 35, [0, 3, 6, 9, 10]),
        ([10] * 10, None, 30, [0, 3, 6, 9, 10]),  # three are just 30
        ([10] * 10, 2, 35, [0, 2, 4, 6, 8, 10]),  # whichever comes first
        ([99, 1, 1, 99, 1], None, 10, [0, 1, 3, 4, 5]),  # a record that is too large has a tar of its own
        ([1], None, 10, [0, 1]),
    ],
)
def test_a_tar_ends_by_count_or_by_bytes_and_has_one_record_at_least(sizes, count, limit, starts):
    assert cut(np.asarray(sizes), count, limit).tolist() == starts


def test_tars_are_about_as_large_as_asked(tmp_path, world):
    layout, sizes = prepare(*world, Shard(size_bytes=300_000), tmp_path / "out")
    assert layout.num_parts > 2
    shard(*world, Shard(size_bytes=300_000), tmp_path / "out")
    shards = pq.read_table(tmp_path / "out" / "shards.parquet").to_pylist()
    assert len(shards) == layout.num_parts
    for row, start, stop in zip(shards, layout.starts, layout.starts[1:], strict=False):
        end_of_tar = 10_240  # a tar is padded to a multiple of this
        assert row["size_bytes"] == pytest.approx(sizes[start:stop].sum(), abs=end_of_tar + 512)
        assert sizes[start:stop].sum() <= 300_000 or row["num_records"] == 1


def test_a_tar_is_what_tarfile_writes(tmp_path: Path):
    members = [("000000001.json", b"{}"), ("000000001.0.jpg", bytes(range(256)) * 7), ("000000002.json", b"")]
    with TarWriter(tmp_path / "mine.tar") as mine:
        offsets = [mine.add(name, data) for name, data in members]
    with tarfile.open(tmp_path / "theirs.tar", "w", format=tarfile.USTAR_FORMAT) as theirs:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            theirs.addfile(info, io.BytesIO(data))
    data = (tmp_path / "mine.tar").read_bytes()
    assert data == (tmp_path / "theirs.tar").read_bytes()
    assert [data[at : at + len(body)] for at, (_, body) in zip(offsets, members, strict=True)] == [
        body for _, body in members
    ]
    with pytest.raises(ValueError, match="at most 100 bytes"), TarWriter(tmp_path / "long.tar") as tar:
        tar.add("x" * 101, b"")


def test_images_larger_than_max_side_are_stored_smaller_and_the_index_says_so(tmp_path, world, photos):
    shard(*world, Shard(max_side=500), tmp_path / "out")
    tar = (tmp_path / "out" / "shard-000000.tar").read_bytes()
    sides = {"people/astronaut.jpg": (500, 500), "coffee.png": (500, 333), "camera.png": (500, 500)}  # 333: 400 of 600
    for row in pq.read_table(tmp_path / "out" / "index.parquet").to_pylist():
        for place in range(row["num_images"]):
            start = row["image_offsets"][place]
            stored = tar[start : start + row["image_sizes"][place]]
            path = next(path for path, data in photos.items() if sha256(data) == row["image_sha256"][place])
            if path == "cats/chelsea.jpg":  # 451 wide
                assert stored == photos[path]
                assert (row["image_transforms"][place], row["stored_sha256"][place]) == (None, None)
            else:
                image = Image.open(io.BytesIO(stored))
                assert (image.format, image.mode, image.size) == ("JPEG", "RGB", sides[path])
                assert row["image_fields"][place].split(".")[-1] == "jpg"
                assert row["stored_sha256"][place] == sha256(stored)
                assert row["image_transforms"][place].startswith("max_side 500: ")
                original = Image.open(io.BytesIO(photos[path])).convert("RGB").resize(sides[path], 1)
                assert np.abs(np.asarray(image, int) - np.asarray(original, int)).mean() < 4


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
