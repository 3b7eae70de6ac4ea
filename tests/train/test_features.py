"""Kept features: each image encoded once, the same training as from pixels, the same file after a kill."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from tinyllava_core.data.tensors.features import Features, distinct_images
from tinyllava_core.errors import BadInput
from tinyllava_core.job import FeaturesJob, TrainJob
from tinyllava_core.recipe import load
from tinyllava_core.train import features
from tinyllava_core.train.__main__ import run
from tinyllava_core.train.ledger import read_rows

MakeJob = Callable[..., TrainJob]


def keep(job: TrainJob, out: Path) -> FeaturesJob:
    out.mkdir()
    return FeaturesJob(stage="sft", recipe=job.recipe, shards=job.shards, out=out)


def test_training_on_kept_features_is_training_on_the_pixels(make_job: MakeJob, tmp_path: Path) -> None:
    plain = make_job("plain")
    asked = keep(plain, tmp_path / "features")
    result = features.run(asked)
    # 22 records, every fifth without an image, one with two: 18 + 1 images; the two of record 7 are the same file
    assert (result.num_images, result.num_patches, result.width, result.dtype) == (18, 9, 16, "float32")
    assert (asked.out / "features.bin").stat().st_size == result.size_bytes == 18 * 9 * 16 * 4
    kept = make_job("kept").model_copy(update={"features": asked.out})
    run(plain, [False])
    run(kept, [False])
    for mine, theirs in zip(read_rows(kept.out / "steps.jsonl"), read_rows(plain.out / "steps.jsonl"), strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
    ours, others = (load_file(job.out / "checkpoint" / "model.safetensors") for job in (kept, plain))
    for name, value in others.items():
        torch.testing.assert_close(ours[name], value, atol=3e-3, rtol=1e-2, msg=name)


def test_each_image_of_each_record_finds_its_features(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job("which")
    asked = keep(job, tmp_path / "features")
    features.run(asked)
    found = Features(job.shards, asked.out)
    images = pq.read_table(job.shards / "index.parquet")["image_sha256"].to_pylist()
    seen: dict[str, torch.Tensor] = {}
    for row, hashes in enumerate(images):
        mine = found.of([row])
        assert len(mine) == len(hashes)
        for sha256, one in zip(hashes, mine, strict=True):
            assert torch.equal(seen.setdefault(sha256, one), one)
    assert len({tensor.numpy().tobytes() for tensor in seen.values()}) == len(seen) == 18
    both = found.of([0, 1])
    assert torch.equal(both, torch.cat([found.of([0]), found.of([1])]))
    assert found.of([4]).shape == (0, 9, 16)


def test_a_killed_encoding_goes_on_and_ends_in_the_same_bytes(
    make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job("killed")
    monkeypatch.setattr(features, "_BATCH", 2)
    monkeypatch.setattr(features, "_NOTE_EVERY", 1)
    whole, killed = keep(job, tmp_path / "one"), keep(job, tmp_path / "two")
    features.run(whole)
    true_patches, calls = features.patches, [0]

    def dies(*args: Any) -> torch.Tensor:
        calls[0] += 1
        if calls[0] == 5:
            raise KeyboardInterrupt
        return true_patches(*args)

    monkeypatch.setattr(features, "patches", dies)
    with pytest.raises(KeyboardInterrupt):
        features.run(killed)
    features.run(killed)
    assert calls[0] == 5 + 9 - 4  # four batches of two were done, five were left
    assert (killed.out / "features.bin").read_bytes() == (whole.out / "features.bin").read_bytes()


def test_bfloat16_features_come_back_bit_for_bit(tmp_path: Path) -> None:
    from tinyllava_core.data.tensors.features import FeatureShape, open_features, stored

    numbers = torch.randn(3, 2, 4).bfloat16()
    shape = FeatureShape(num_images=3, num_patches=2, width=4, dtype="bfloat16")
    file = open_features(tmp_path, shape, "w+")
    file[:] = stored(numbers, "bfloat16")
    file.flush()
    assert (tmp_path / "features.bin").stat().st_size == 3 * 2 * 4 * 2
    again = torch.from_numpy(np.array(open_features(tmp_path, shape, "r"))).view(torch.bfloat16)
    assert torch.equal(again, numbers)


def test_different_images_are_told_by_their_content(make_job: MakeJob) -> None:
    places, which = distinct_images(make_job("places").shards)
    assert len(places) == 18
    assert len(which) == 19
    assert len(set(which.tolist())) == 18


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"sft.keep_features": True}, "only a pretrain without `start` has the encoder's published weights"),
        (
            {"pretrain.keep_features": True, "pretrain.vision.trainable_from_layer": 2},
            "keep_features needs a frozen encoder",
        ),
    ],
)
def test_features_of_weights_that_change_are_refused(overrides: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        load("toy", overrides)


def test_features_are_of_the_pixels_that_the_model_asks_for(make_job: MakeJob, tmp_path: Path) -> None:
    kept = []
    for way in ("fast", "pil"):
        plain = make_job(way)
        model = plain.recipe.model.model_copy(update={"pixels": way})
        job = keep(
            plain.model_copy(update={"recipe": plain.recipe.model_copy(update={"model": model})}),
            tmp_path / f"kept {way}",
        )
        features.run(job)
        kept.append((job.out / "features.bin").read_bytes())
    assert kept[0] != kept[1]
