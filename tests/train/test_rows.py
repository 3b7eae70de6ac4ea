"""From a manifest of rows in Parquet to training steps, offline: the tars that training reads were filled from its cells."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from data.download.rows_world import files, world
from PIL import Image

from tinyllava_core.data.download.download import download
from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.data.inspect.inspect import inspect_source
from tinyllava_core.data.manifest.manifest import load
from tinyllava_core.data.mix.mix import mix
from tinyllava_core.data.record.record import InspectedSource
from tinyllava_core.data.shard.shard import shard
from tinyllava_core.job import TrainJob, read_result
from tinyllava_core.results import TrainResult
from tinyllava_core.settings.mix import MixEntry
from tinyllava_core.settings.shard import Shard
from tinyllava_core.train.__main__ import run


def _photo(colour: str, format: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (120, 90), colour).save(buffer, format)
    return buffer.getvalue()


PHOTOS = {
    "people/astronaut.jpg": _photo("red", "JPEG"),
    "coffee.png": _photo("green", "PNG"),
    "cats/chelsea.jpg": _photo("blue", "JPEG"),
}


@pytest.fixture
def tiny_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tars of a small FineVision, in place of those that the other tests of training make by hand."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name, data in files(PHOTOS).items():
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(data)
    written = {"name": "fine", "annotations": {"hub": {"repo": "./set"}}, "images": [{"embedded": True}]}
    (tmp_path / "fine.yaml").write_text(yaml.safe_dump(written))
    out = {stage: tmp_path / stage for stage in ("download", "inspect", "mix", "shard")}
    for folder in out.values():
        folder.mkdir()
    result = download(load(str(tmp_path / "fine.yaml")), out["download"], tmp_path / "cache")
    inspect_source(out["download"], result, "texts", 0.5, out["inspect"])
    places = ImagePlaces.one(out["download"] / result.image_root)
    source = InspectedSource(name="fine", records=out["inspect"], images=places)
    mix([(MixEntry(source="fine"), source)], 0, out["mix"])
    shard(out["mix"], [source], Shard(), out["shard"])
    return out["shard"]


def test_rows_of_parquet_train_and_every_good_one_is_seen_once(make_job: Callable[..., TrainJob]) -> None:
    good = sum(row.reason is None for rows in world(PHOTOS).values() for row in rows)
    job = make_job("rows")
    run(job, [False])
    result = read_result(job.out, "train", TrainResult)
    assert result.num_records == good == 8
    assert result.num_steps == 2
    assert result.last_loss < result.first_loss
