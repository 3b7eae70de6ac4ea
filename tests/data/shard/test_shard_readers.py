"""Others read the tars as they are: plain webdataset, and `datasets` by the card beside them. One image, several, none."""

from __future__ import annotations

import io
import json
from pathlib import Path

import datasets
import pytest
import webdataset
from PIL import Image

from tinyllava_core.data.shard.shard import shard
from tinyllava_core.settings.shard import Shard


@pytest.fixture
def tars(tmp_path, world) -> Path:
    """Fourteen records in four tars."""
    shard(*world, Shard(records_per_shard=4), tmp_path / "out")
    return tmp_path / "out"


def test_plain_webdataset_reads_every_record(tars, photos):
    samples = list(webdataset.WebDataset(str(tars / "shard-{000000..000003}.tar"), shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == [f"{n:09d}" for n in range(14)]
    seen = []
    for sample in samples:
        images = json.loads(sample["json"])["images"]
        found = [sample[key] for key in sorted(sample) if key.split(".")[-1] in ("jpg", "png")]
        assert found == [photos[image["path"]] for image in images]
        seen.append(len(images))
    assert sorted(seen) == [0] * 4 + [1] * 8 + [2] * 2


def test_webdataset_decodes_them(tars):
    dataset = webdataset.WebDataset(str(tars / "shard-{000000..000003}.tar"), shardshuffle=False).decode("pil")
    assert {sample["jpg"].size for sample in dataset if "jpg" in sample} == {(512, 512), (451, 300)}


@pytest.mark.parametrize("streaming", [True, False])
def test_datasets_reads_every_record_by_the_folders_card(tars, photos, tmp_path, streaming):
    samples = list(
        datasets.load_dataset(str(tars), split="train", streaming=streaming, cache_dir=str(tmp_path / "cache"))
    )
    assert [sample["__key__"] for sample in samples] == [f"{n:09d}" for n in range(14)]
    for sample in samples:
        images = sample["json"]["images"]
        found = {key: value for key, value in sample.items() if isinstance(value, Image.Image)}
        assert len(found) == len(images) == "".join(turn["text"] for turn in sample["json"]["turns"]).count("<image>")
        for image, field in zip(images, sorted(found), strict=True):
            wanted = Image.open(io.BytesIO(photos[image["path"]]))
            assert found[field].tobytes() == wanted.tobytes()


def test_the_first_columns_of_the_card_are_no_guess(tars):
    """A tar that begins with text-only records: `datasets` alone would find no image column in it."""
    dataset = datasets.load_dataset(str(tars), split="train", streaming=True)
    assert set(dataset.features) == {"json", "jpg", "png", "0.png", "1.jpg", "__key__", "__url__"}


def test_the_card_counts_what_is_there(tars):
    card = (tars / "README.md").read_text()
    # 4 pictures twice, 1 pair twice, 2 texts twice
    assert "# 14 records in 4 WebDataset tars" in card
    assert "12 images, 4 records without one" in card
    assert "| photos | 10 |\n| text | 4 |" in card
