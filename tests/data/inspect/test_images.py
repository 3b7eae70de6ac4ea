"""A benchmark's pictures, looked at once: by its questions, each picture once, a faulty one with the question it spoils."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.data.inspect.images import inspect_benchmark


def test_the_pictures_that_are_asked_about_are_looked_at_once(tmp_path: Path, photos: dict[str, bytes]) -> None:
    for name in ("camera.png", "coffee.png"):  # the second is not asked about
        (tmp_path / name).write_bytes(photos[name])
    (tmp_path / "cut.png").write_bytes(photos["coffee.png"][:5000])
    asked = [("7", "camera.png"), ("8", "camera.png"), ("9", None), ("10", "cut.png"), ("11", "lost.png")]
    (tmp_path / "out").mkdir()
    result = inspect_benchmark("quiz", asked, ImagePlaces.one(tmp_path), tmp_path / "out")
    assert (result.num_records, result.num_good, result.num_dropped, result.num_images) == (5, 3, 2, 1)
    assert result.image_bytes == len(photos["camera.png"])
    images = pq.read_table(tmp_path / "out" / "images.parquet").to_pylist()
    assert [(row["source"], row["path"], row["width"], row["reason"]) for row in images] == [
        ("quiz", "camera.png", 512, None),
        ("quiz", "cut.png", None, "truncated_image"),
        ("quiz", "lost.png", None, "missing_image"),
    ]
    assert images[0]["phash"] is not None
    assert len(images[0]["sha256"]) == 64
    dropped = pq.read_table(tmp_path / "out" / "dropped.parquet").to_pylist()
    assert [(row["record_id"], row["original_id"], row["reason"]) for row in dropped] == [
        ("quiz-00000003", "10", "truncated_image"),
        ("quiz-00000004", "11", "missing_image"),
    ]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "dropped.parquet",
        "images.parquet",
        "records.parquet",
    ]
