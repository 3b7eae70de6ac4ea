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
from tinyllava_core.data.tensors.order import order_of
from tinyllava_core.data.tensors.stream import begin_worker, lost_workers_told, possible
from tinyllava_core.data.tensors.tiles import opened
from tinyllava_core.errors import BadInput
from tinyllava_core.job import FeaturesJob, Progress, tell, write_result
from tinyllava_core.model.assemble import load_encoder, pin
from tinyllava_core.model.device import use_gpu
from tinyllava_core.model.vision.states import patches
from tinyllava_core.parts import Vision
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
        with lost_workers_told(), told("features", job.out):
            write_result(job.out, job.kind, run(job))
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


@torch.no_grad()
def run(job: FeaturesJob) -> FeaturesResult:
    """Write features.bin and shape.json for the shards of one stage."""
    started, parts = time.monotonic(), job.recipe.model_in(job.stage)
    row, training = parts.seen, job.recipe.training(job.stage)
    places, _ = distinct_images(job.shards)
    dtype = "bfloat16" if training.precision == "bf16" else "float32"
    tiles, shapes_N2 = _cut(job.shards, places, parts.scheme)
    ends = np.cumsum([0, *tiles])
    if not parts.scheme.is_fixed:
        np.save(job.out / TILES, np.diff(ends))
    shape = FeatureShape(num_images=int(ends[-1]), num_patches=row.num_patches, width=row.width, dtype=dtype)
    device = torch.device("cuda" if use_gpu(job.recipe.launch.device) else "cpu")
    pin(job.commits)
    encoder = load_encoder(parts).to(device).eval()
    done = _begin(job.out, shape)
    images = _Images(job.shards, places.tolist()[done:], row, parts.scheme, parts.pixels)
    workers = possible(training.data_workers)
    loader = DataLoader(
        images,
        batch_size=_BATCH,
        collate_fn=list,
        num_workers=workers,
        worker_init_fn=begin_worker,
        multiprocessing_context="fork" if workers else None,
    )
    for number, batch in enumerate(loader, 1):
        file = open_features(job.out, shape, "r+")
        first = ends[done]
        for pixels in torch.cat(batch).split(_BATCH):
            shapes = None if shapes_N2 is None else shapes_N2[first : first + len(pixels)].to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
                found = patches(encoder, normalise(pixels.to(device), row), parts.vision_layer, row.num_skipped, shapes)
            file[first : first + len(pixels)] = stored(found, dtype)
            first += len(pixels)
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


def _cut(shards: Path, places: np.ndarray, scheme: Scheme) -> tuple[list[int], Tensor | None]:
    """Count the tiles of the images at some places of the shards, and give their shapes in patches where they have any."""
    if scheme.is_fixed:
        return [1] * len(places), None
    reader = ShardReader(shards)
    sizes = [reader.told(row)[1][number] for row, number in places.tolist()]
    order = order_of(scheme, sizes) if scheme.mode == "native" else None
    return [scheme.cut(*size).num_tiles for size in sizes], order.shapes_N2 if order else None


class _Images(Dataset[Tensor]):
    """The images at some places of the shards, as the encoder takes them, uint8."""

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


if __name__ == "__main__":
    sys.exit(main(sys.argv))
