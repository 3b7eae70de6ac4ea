"""From stored pictures to what an encoder takes: samples a second on one core, six ways, on the same pictures.

`python benchmarks/reading.py [--pictures 200] [--rounds 3]`. One thread; CPU time; the ways take turns. Read ratios.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import datasets
import numpy as np
import torch
import webdataset
from made_up_data import inspected, interleaved, mixed, table, write_source
from PIL import Image
from transformers import CLIPImageProcessor, SiglipImageProcessor

from tinyllava_core.data.shard.read import ShardReader
from tinyllava_core.data.shard.shard import shard
from tinyllava_core.data.tensors.example import mean_colour, pixels
from tinyllava_core.parts import VISIONS, Vision
from tinyllava_core.settings.shard import Shard

SIGLIP, CLIP = VISIONS["siglip-so400m-patch14-384"], VISIONS["clip-vit-large-patch14-336"]
SETTINGS = {
    "384 square": (SIGLIP, "square"),
    "384 pad": (SIGLIP, "pad"),
    "336 square": (CLIP, "square"),
}  # base's two stages, and CLIP
BATCH = 16


def main() -> None:
    """Measure both sizes and print one table, then how far the fast pixels are from Pillow's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        write_source(home / "source", given.pictures)
        source = inspected(home / "source", home / "inspect")
        shard(mixed(source, home / "mix"), [source], Shard(), home / "shards", processes=1)
        rows = []
        for name, (vision, mode) in SETTINGS.items():
            took = interleaved(ways(home, vision, mode), given.rounds)
            first, second, *_ = took.values()
            for way, seconds in took.items():
                each = seconds / given.pictures
                rows.append(
                    (
                        name,
                        way,
                        f"{1e6 * each:,.0f}",
                        f"{1 / each:,.0f}",
                        f"{first / seconds:.2f}x",
                        f"{second / seconds:.2f}x",
                    )
                )
        table(
            ("pixels", "way", "CPU us a sample", "samples/s a core", "against the first", "against LLaVA's processor"),
            rows,
        )
        print()
        table(("pixels", "values that differ", "by more than 1 level", "most"), differences(home))


def ways(home: Path, vision: Vision, mode: str) -> dict[str, Callable[[], object]]:
    """List the ways; each reads every picture, as batches."""
    processor = (CLIPImageProcessor if vision.crop else SiglipImageProcessor)(
        size={"shortest_edge": 336} if vision.crop else {"height": 384, "width": 384},
        **({"crop_size": 336} if vision.crop else {}),
    )

    def lean(image: Image.Image) -> torch.Tensor:
        return by_hand(padded(image, vision, mode), vision)

    def theirs(image: Image.Image) -> torch.Tensor:
        return torch.from_numpy(np.asarray(processor(padded(image, vision, mode))["pixel_values"][0]))

    tars = str(home / "shards" / "shard-000000.tar")
    return {
        "LLaVA's way: JSON, loose files, Pillow, float32": lambda: batches(map(lean, loose(home / "source"))),
        "the same with transformers' own processor": lambda: batches(map(theirs, loose(home / "source"))),
        "webdataset, decode('pil'), the same resize": lambda: batches(
            map(lean, (one["jpg"] for one in webdataset.WebDataset(tars, shardshuffle=False).decode("pil")))
        ),
        "datasets, streaming, the same resize": lambda: batches(
            map(
                lean,
                (one["jpg"] for one in datasets.load_dataset(str(home / "shards"), split="train", streaming=True)),
            )
        ),
        "ours, pixels: pil": lambda: batches(ours(home / "shards", vision, mode, "pil")),
        "ours, pixels: fast": lambda: batches(ours(home / "shards", vision, mode, "fast")),
    }


def loose(source: Path) -> Iterator[Image.Image]:
    """Open pictures as LLaVA's dataset does: from its JSON, file by file."""
    for record in json.loads((source / "annotations.json").read_text()):
        yield Image.open(source / "images" / record["image"]).convert("RGB")


def padded(image: Image.Image, vision: Vision, mode: str) -> Image.Image:
    """Paste on a square of the mean colour, as LLaVA's expand2square does."""
    image, side = image.convert("RGB"), max(image.size)
    if mode == "square" or image.width == image.height:
        return image
    square = Image.new("RGB", (side, side), mean_colour(vision))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def by_hand(image: Image.Image, vision: Vision) -> torch.Tensor:
    """Scale, cut and normalise to float32 with Pillow and numpy, without a processor's own cost."""
    size = vision.image_size
    if vision.crop:
        short = min(image.size)
        image = image.resize((image.width * size // short, image.height * size // short), 3)
        left, top = (image.width - size) // 2, (image.height - size) // 2
        image = image.crop((left, top, left + size, top + size))
    else:
        image = image.resize((size, size), 3)
    values = np.asarray(image, np.float32) / 255
    values = (values - np.asarray(vision.mean, np.float32)) / np.asarray(vision.std, np.float32)
    return torch.from_numpy(values.transpose(2, 0, 1).copy())


def ours(shards: Path, vision: Vision, mode: str, way: str) -> Iterator[torch.Tensor]:
    """Read by offset, decode and scale; bytes, which the device normalises."""
    reader = ShardReader(shards)
    for row in range(len(reader)):
        reader.turns(row)
        for image in reader.images(row):
            yield pixels(image, vision, mode, way)  # type: ignore[arg-type]


def batches(samples: Iterator[torch.Tensor]) -> None:
    """Put samples together as a loader does."""
    waiting: list[torch.Tensor] = []
    for sample in samples:
        waiting.append(sample)
        if len(waiting) == BATCH:
            torch.stack(waiting)
            waiting.clear()


def differences(home: Path) -> list[tuple[object, ...]]:
    """Compare the fast pixels with Pillow's, value by value."""
    reader, rows = ShardReader(home / "shards"), []
    for name, (vision, mode) in SETTINGS.items():
        off = [
            (pixels(image, vision, mode, "fast").int() - pixels(image, vision, mode, "pil").int()).abs()  # type: ignore[arg-type]
            for row in range(min(100, len(reader)))
            for image in reader.images(row)
        ]
        every = torch.cat([one.flatten() for one in off])
        share, more = (every > 0).float().mean(), (every > 1).float().mean()
        rows.append((name, f"{share:.1%}", f"{more:.5%}", int(every.max())))
    return rows


if __name__ == "__main__":
    main()
