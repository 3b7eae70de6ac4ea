"""`python -m tinyllava_core.train.features JOB.yaml`: run a frozen encoder over every image of a mix once, and keep what it says.

A killed run goes on: what is written is written. Ends with 0 and a result, or with 2 and one line for a fault of the user's.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers.utils import logging as transformers_logging

from tinyllava_core.artifact import write_aside
from tinyllava_core.data.shard.read import ShardReader
from tinyllava_core.data.tensors.example import normalise
from tinyllava_core.data.tensors.features import TILES, FeatureShape, distinct_images, open_features, stored
from tinyllava_core.data.tensors.tiles import opened
from tinyllava_core.errors import BadInput
from tinyllava_core.job import FeaturesJob, Progress, tell, write_result
from tinyllava_core.model.assemble import load_vision, pin
from tinyllava_core.model.device import use_gpu
from tinyllava_core.model.tinyllava import patches
from tinyllava_core.parts import VISIONS, Vision
from tinyllava_core.parts.picture import Scheme
from tinyllava_core.results import FeaturesResult
from tinyllava_core.room import told
from tinyllava_core.settings.model import Pixels

_BATCH = 32  # images through the encoder at once
_NOTE_EVERY = 16  # batches between two notes of how far it is


def main(argv: list[str]) -> int:
    """Run the job file named in `argv`; give the exit code."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        job = FeaturesJob.read(Path(argv[-1]))
        with told("features", job.out):
            write_result(job.out, job.kind, run(job))
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


@torch.no_grad()
def run(job: FeaturesJob) -> FeaturesResult:
    """Write features.bin and shape.json for the shards of one stage."""
    started, parts = time.monotonic(), job.recipe.model_in(job.stage)
    row, training = VISIONS[parts.vision], job.recipe.training(job.stage)
    places, _ = distinct_images(job.shards)
    dtype = "bfloat16" if training.precision == "bf16" else "float32"
    ends = np.cumsum([0, *_tiles(job.shards, places, parts.scheme)])
    if not parts.scheme.is_fixed:
        np.save(job.out / TILES, np.diff(ends))
    shape = FeatureShape(num_images=int(ends[-1]), num_patches=row.num_patches, width=row.width, dtype=dtype)
    device = torch.device("cuda" if use_gpu(job.recipe.launch.device) else "cpu")
    pin(job.commits)
    encoder = load_vision(parts.vision).to(device).eval()
    done = _begin(job.out, shape)
    images = _Images(job.shards, places.tolist()[done:], row, parts.scheme, parts.pixels)
    loader = DataLoader(
        images,
        batch_size=_BATCH,
        collate_fn=list,
        num_workers=training.data_workers,
        multiprocessing_context=_context(training.data_workers),
    )
    for number, batch in enumerate(loader, 1):
        file = open_features(job.out, shape, "r+")
        first = ends[done]
        for tiles in torch.cat(batch).split(_BATCH):
            with torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
                found = patches(encoder, normalise(tiles.to(device), row), parts.vision_layer, row.num_skipped)
            file[first : first + len(tiles)] = stored(found, dtype)
            first += len(tiles)
        done += len(batch)
        if number % _NOTE_EVERY == 0 or done == len(places):
            file.flush()
            write_aside(job.out / "progress.json", json.dumps({"done": done}))
            tell(Progress(done=done, total=len(places), unit="images", note=row.weights))
    write_aside(job.out / "shape.json", json.dumps(dataclasses.asdict(shape)))
    (job.out / "progress.json").unlink(missing_ok=True)
    size = (job.out / "features.bin").stat().st_size if len(places) else 0
    return FeaturesResult(
        stage=job.stage,
        num_images=len(places),
        num_patches=row.num_patches,
        width=row.width,
        dtype=dtype,
        size_bytes=size,
        seconds=round(time.monotonic() - started, 2),
    )


def _tiles(shards: Path, places: np.ndarray, scheme: Scheme) -> list[int]:
    """Count the tiles of the images at some places of the shards."""
    if scheme.is_fixed:
        return [1] * len(places)
    reader = ShardReader(shards)
    return [scheme.cut(*reader.told(row)[1][number]).num_tiles for row, number in places.tolist()]


class _Images(Dataset[Tensor]):
    """The images at some places of the shards, as the encoder takes them -> [N, 3, H, W] uint8."""

    def __init__(self, shards: Path, places: list[list[int]], row: Vision, scheme: Scheme, way: Pixels) -> None:
        self._reader, self._places, self._row = ShardReader(shards), places, row
        self._scheme, self._way = scheme, way

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Tensor:
        row, number = self._places[index]
        return opened(self._reader.images(row)[number], self._row, self._scheme, self._way)


def _begin(out: Path, shape: FeatureShape) -> int:
    """Find how far a killed life came, or make the file -> images that are done."""
    noted = out / "progress.json"
    if noted.is_file():
        return int(json.loads(noted.read_text())["done"])
    if shape.num_images:
        open_features(out, shape, "w+").flush()
    return 0


def _context(workers: int) -> str | None:
    return "fork" if workers else None


if __name__ == "__main__":
    sys.exit(main(sys.argv))
