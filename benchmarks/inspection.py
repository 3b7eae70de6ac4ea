"""How fast inspection is: records checked and images looked at, per second of one core; threads against processes.

    python benchmarks/inspection.py [--records 100000] [--images 2000]

Images: photographs' stand-ins of 0.25 megapixels (soft noise), JPEG of quality 88. Everything in one run: read ratios.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import fields
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.data.inspect.inspect import inspect_source
from tinyllava_core.data.inspect.picture import Picture, look
from tinyllava_core.data.record.json_items import json_items
from tinyllava_core.data.record.json_split import item_places, read_items
from tinyllava_core.results import DownloadResult
from tinyllava_core.settings.inspect import Inspect

_TEXT = "the a red blue bench stands beside an old tree in front of a house where people walk and talk about bread"
WORDS = tuple(_TEXT.split(" "))


def believed(images: ImagePlaces, path: str, limits: Inspect) -> Picture:
    """Stand in for a look at a file that is not there: the records alone are measured."""
    return Picture(path=path, sha256=f"{hash(path):064x}", width=640, height=480, format="JPEG", size_bytes=1)


def write_records(file: Path, count: int) -> None:
    """Half captions (2 turns), half questions (8 turns), one in twenty without a picture."""
    chance = random.Random(0)

    def words(number: int) -> str:
        return " ".join(chance.choices(WORDS, k=number))

    with file.open("w") as out:
        for index in range(count):
            turns = []
            for turn in range(1 if index % 2 else 4):
                tag = "<image>\n" if turn == 0 and index % 20 else ""
                turns += [
                    {"from": "human", "value": tag + words(8)},
                    {"from": "gpt", "value": words(4 + 96 * (index % 2))},
                ]
            image = {"image": f"coco/train2017/{index % 600_000:012d}.jpg"} if index % 20 else {}
            out.write(("[" if index == 0 else ", ") + json.dumps({"id": str(index)} | image | {"conversations": turns}))
        out.write("]")


def write_images(folder: Path, count: int) -> list[str]:
    """Write fifty different pictures, each many times under other names."""
    data = []
    for number in range(50):
        noise = np.random.default_rng(number).integers(0, 256, (42, 60, 3), dtype=np.uint8)
        grain = np.random.default_rng(number).normal(0, 8, (420, 600, 3))
        soft = np.asarray(Image.fromarray(noise).resize((600, 420), Image.Resampling.BICUBIC))
        buffer = io.BytesIO()
        Image.fromarray((soft + grain).clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=88)
        data.append(buffer.getvalue())
    names = [f"{number:06d}.jpg" for number in range(count)]
    for number, name in enumerate(names):
        (folder / name).write_bytes(data[number % len(data)])
    return names


def timed(what: str, count: int, do: Callable[[], object]) -> None:
    """Print how many a second, by the wall clock and by the processor's."""
    begun, used = time.perf_counter(), _used()
    do()
    wall, cpu = time.perf_counter() - begun, _used() - used
    print(f"| {what} | {count / wall:,.0f} | {count / cpu:,.0f} |", flush=True)


def _used() -> float:
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(resource.getrusage(kind).ru_utime + resource.getrusage(kind).ru_stime for kind in kinds)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--images", type=int, default=2_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        file = home / "records.json"
        write_records(file, args.records)
        print("| | a second | a second of one core |\n|---|---:|---:|")
        timed("records: `json_items` (strict reader)", args.records, lambda: sum(1 for _ in json_items(file)))
        timed("records: found (`item_places`)", args.records, lambda: item_places(file))
        places = item_places(file)
        timed("records: parsed (`read_items`)", args.records, lambda: sum(1 for _ in read_items(file, places)))
        told = {kept.name: 0 for kept in fields(DownloadResult)} | {"source": "big", "annotations": str(file)}
        for processes in (1, 2):
            out = home / f"out-{processes}"
            out.mkdir()
            run = partial(inspect_source, home, DownloadResult(**told | {"image_root": "."}), "llava", 1.0, out)
            timed(
                f"records: the whole stage, {processes} processes, no picture read",
                args.records,
                lambda run=run, n=processes: run(look=believed, processes=n),
            )
        (home / "images").mkdir()
        names = write_images(home / "images", args.images)
        one = partial(look, ImagePlaces.one(home / "images"), limits=Inspect())
        timed("images: one thread", args.images, lambda: [one(name) for name in names])
        with ThreadPoolExecutor(2) as pool:
            timed("images: two threads", args.images, lambda: list(pool.map(one, names)))
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            list(pool.map(one, names[:20]))  # started, and its modules imported
            begun = time.perf_counter()
            list(pool.map(one, names, chunksize=50))
            print(f"| images: two processes | {args.images / (time.perf_counter() - begun):,.0f} | |")
    print(f"\npeak of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB")


if __name__ == "__main__":
    main()
