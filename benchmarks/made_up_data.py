"""Data that benchmarks share: pictures of a photograph's size and texture, and the stages before the one that is measured."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.data.inspect.inspect import inspect_source
from tinyllava_core.data.mix.mix import mix
from tinyllava_core.data.record.record import InspectedSource
from tinyllava_core.results import DownloadResult
from tinyllava_core.settings.mix import MixEntry


def picture(rng: np.random.Generator) -> bytes:
    """Draw a JPEG of 336 to 640 pixels a side, 0.25 megapixels on average, with a photograph's fall of detail."""
    height, width = (int(side) for side in rng.integers(336, 641, 2))
    y, x = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    fall = np.maximum(np.hypot(y, x), 1 / max(height, width)) ** -1.25  # 80 kB a picture
    noise = rng.standard_normal((3, height, fall.shape[1])) + 1j * rng.standard_normal((3, height, fall.shape[1]))
    image = np.fft.irfft2(noise * fall, (height, width)).transpose(1, 2, 0)
    scaled = np.clip(127 + 55 * image / image.std(), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(scaled).save(file, "JPEG", quality=int(rng.integers(80, 93)))
    return file.getvalue()


def write_source(home: Path, count: int, seed: int = 0) -> Path:
    """Write `count` pictures as loose files and their LLaVA-style JSON -> the JSON."""
    rng = np.random.default_rng(seed)
    (home / "images").mkdir(parents=True, exist_ok=True)
    records = []
    for number in range(count):
        (home / "images" / f"{number:06d}.jpg").write_bytes(picture(rng))
        turns = [
            {"from": "human", "value": f"<image>\nWhat is in picture {number}? Answer in a few words."},
            {"from": "gpt", "value": "Clouds of many colours, some of them large and some of them small."},
        ]
        records.append({"id": str(number), "image": f"{number:06d}.jpg", "conversations": turns})
    (home / "annotations.json").write_text(json.dumps(records))
    return home / "annotations.json"


def inspected(home: Path, out: Path) -> InspectedSource:
    """Inspect what `write_source` wrote, in this process."""
    out.mkdir(parents=True, exist_ok=True)
    places = {"annotations": "annotations.json", "annotations_sha256": "0", "image_root": "images"}
    counts = {"num_files": 0, "size_bytes": 0, "num_requested": 0, "num_failed": 0, "num_expected": None}
    result = DownloadResult(source="made-up", kind="source", licence=None, urls="", **places, **counts)
    inspect_source(home, result, "llava", 0.0, out, images=ImagePlaces.one(home / "images"), processes=1)
    return InspectedSource(name="made-up", records=out, images=ImagePlaces.one(home / "images"))


def mixed(source: InspectedSource, out: Path) -> Path:
    """Mix one source alone -> the folder."""
    out.mkdir(parents=True, exist_ok=True)
    mix([(MixEntry(source=source.name), source)], 0, out)
    return out


def cpu_of(work: Callable[[], object]) -> float:
    """Give the CPU seconds that this process spends on something."""
    started = time.process_time()
    work()
    return time.process_time() - started


def interleaved(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Run every way once a round, in turn -> the median of its CPU seconds."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            took[name].append(cpu_of(way))
    return {name: float(np.median(seconds)) for name, seconds in took.items()}


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows as a Markdown table."""
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |", flush=True)
