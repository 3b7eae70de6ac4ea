"""What the model saw first: the tokens, marks and pixels of the first pack, for people."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from tinyllava_core.data.tensors.stream import PlannedPacks
from tinyllava_core.job import TrainJob
from tinyllava_core.tokenizer import IGNORE
from tinyllava_core.train.__main__ import reading
from tinyllava_core.train.samples import leave_samples


def test_samples_are_the_tokens_and_pixels_of_the_first_pack(make_job: Callable[..., TrainJob], tmp_path: Path):
    job = make_job("sft")
    packs = PlannedPacks(job.shards, job.plan, reading(job))
    leave_samples(packs, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    pack = packs[0, 0]
    assert [row["slot"] for row in rows] == list(range(int(pack.record_T.max()) + 1))
    ids = [token for row in rows for span in row["spans"] for token in span["ids"]]
    assert ids == pack.ids_T.tolist()
    learned = [span["kind"] == "learned" for row in rows for span in row["spans"] for _ in span["ids"]]
    assert learned == (pack.labels_T != IGNORE).tolist()
    assert any("what colour is the cat" in span["text"] for span in rows[0]["spans"])
    pictures = [name for row in rows for name in row["pictures"]]
    assert len(pictures) == len(pack.pixels_N3HW)
    for name, pixels in zip(pictures, pack.pixels_N3HW, strict=True):
        assert Image.open(tmp_path / name).size == (pixels.shape[2], pixels.shape[1])
