"""The books at scale: what it costs to read, check, mix and lay out a million records, in time and in memory.

    python benchmarks/data_scale.py [--records 1200000] [--folder DIR]
    python benchmarks/data_scale.py --shapes    # read, check and mix: LLaVA's JSON beside the same records as `messages`

The records are made up after LLaVA-1.5's instruction mix: its ten data sets in their published proportions, with the turns and
lengths of tinyllava_core/estimate/lengths.yaml, COCO's pictures shared between them as there. No picture is decoded and no
text is tokenized: both are linear and have tables of their own; lengths are drawn from the text. Each step runs in a process of
its own, whose whole tree is watched; beside it the usual way, json.load and random.shuffle, on the same file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from made_up_data import table

from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.data.inspect.inspect import inspect_source
from tinyllava_core.data.inspect.picture import Picture
from tinyllava_core.data.inspect.tables import IMAGES_SCHEMA
from tinyllava_core.data.manifest.component import Component
from tinyllava_core.data.mix.mix import mix
from tinyllava_core.data.plan.part import LENGTHS_SCHEMA, PlanSpec
from tinyllava_core.data.plan.plan import merge, prepare
from tinyllava_core.data.record.record import InspectedSource
from tinyllava_core.estimate.lengths import TABLE
from tinyllava_core.results import DownloadResult
from tinyllava_core.settings.inspect import Inspect
from tinyllava_core.settings.mix import MixEntry

FOLDERS = {  # component -> (path of its number-th picture, pictures); Source: LLaVA, docs/Data.md and its issues 657 and 702
    "coco": ("coco/train2017/{:012d}.jpg", 118_287),
    "gqa": ("gqa/images/{}.jpg", 72_140),
    "ocr-vqa": ("ocr_vqa/images/{:010d}.jpg", 80_000),
    "textcaps": ("textvqa/train_images/{:016x}.jpg", 21_953),
    "vg": ("vg/VG_100K/{}.jpg", 86_417),
}
ALL = 665_298  # records of the original
ENGLISH = [
    "the",
    "a",
    "red",
    "blue",
    "bench",
    "stands",
    "beside",
    "an",
    "old",
    "tree",
    "in",
    "front",
    "of",
    "house",
    "where",
    "people",
    "walk",
    "and",
    "talk",
    "about",
    "bread",
    "while",
]
NAME, RECORDS_PER_SHARD = "made-up", 1_000
SHAPE = "shape.txt"  # in the folder: how its annotations are written
STEPS = ("read and check", "mix", "plan", "json.load, random.shuffle")


def looked(images: ImagePlaces, path: str, limits: Inspect) -> Picture:
    """Stand in for a look at a picture that is not there: made of its path alone."""
    digest = hashlib.sha256(path.encode()).hexdigest()
    return Picture(
        path=path,
        sha256=digest,
        width=640,
        height=480,
        format="JPEG",
        size_bytes=80_000,
        pixel_hash=digest[:32],
        phash=int(digest[:16], 16),
    )


def as_messages(record: dict[str, Any]) -> dict[str, Any]:
    """Write a record of LLaVA's as TRL and OpenAI do: messages of parts, pictures by their places."""
    messages = []
    for turn in record["conversations"]:
        parts = [{"type": "image"}] if turn["value"].startswith("<image>") else []
        text = {"type": "text", "text": turn["value"].removeprefix("<image>\n")}
        role = "user" if turn["from"] == "human" else "assistant"
        messages.append({"role": role, "content": [*parts, text]})
    return {"id": record["id"], "images": [record["image"]] if "image" in record else [], "messages": messages}


def write_annotations(file: Path, count: int, shape: str = "llava") -> None:
    """Write `count` records, shuffled over the kinds as their shares are."""
    kinds = yaml.safe_load(TABLE.read_text(encoding="utf-8"))["sources"]["llava-sft-665k"]
    rng = np.random.default_rng(0)
    words = " ".join(ENGLISH[number] for number in rng.integers(0, len(ENGLISH), 200_000))
    shares = np.asarray([kind["records"] for kind in kinds], float)
    which = rng.choice(len(kinds), count, p=shares / shares.sum())
    spreads, starts = rng.standard_normal(count), rng.integers(0, len(words) - 40_000, count)
    pictures = rng.random(count)
    with file.open("w", encoding="utf-8") as out:
        for index in range(count):
            kind = kinds[which[index]]
            longer = float(np.exp(kind["spread"] * spreads[index]))
            record: dict[str, object] = {"id": str(index)}
            if kind["images"]:
                path, number = FOLDERS[kind["component"]]
                record["image"] = path.format(int(pictures[index] * number * max(1, count // ALL)))
            at, turns = int(starts[index]), []
            for pair in range(max(1, round(kind["pairs"] * longer ** (kind["pairs"] > 1)))):
                for who, length in (("human", kind["question"]), ("gpt", kind["answer"])):
                    size = max(3, round(5 * length * longer ** (kind["pairs"] <= 1)))
                    tag = "<image>\n" if who == "human" and pair == 0 and kind["images"] else ""
                    turns.append({"from": who, "value": tag + words[at : at + size].strip() + "."})
                    at += size
                    at -= 20_000 if at > len(words) - 20_000 else 0
            record["conversations"] = turns
            written = as_messages(record) if shape == "messages" else record
            out.write(("[" if index == 0 else ", ") + json.dumps(written))
        out.write("]")


def read_and_check(home: Path) -> None:
    """Stage inspect, but for the pictures."""
    told = DownloadResult(
        source=NAME,
        kind="source",
        licence=None,
        urls="",
        annotations="annotations.json",
        annotations_sha256="0",
        image_root=".",
        num_files=0,
        size_bytes=0,
        num_requested=0,
        num_failed=0,
        num_expected=None,
    )
    components = [Component(name=name, prefix=path.split("/")[0]) for name, (path, _) in FOLDERS.items()]
    out = fresh(home / "inspect")
    shape = (home / SHAPE).read_text()
    inspect_source(home, told, shape, 0.0, out, components=components, look=looked)


def mix_all(home: Path) -> None:
    """Stage mix: two filters, half of a component, exact duplicates, and a benchmark to compare with."""
    entry = MixEntry(
        source=NAME, components={"ocr-vqa": 0.5}, filters=("num_turns <= 60", "aspect < 5 OR num_images = 0")
    )
    source = InspectedSource(name=NAME, records=home / "inspect", images=ImagePlaces.one(home))
    mix([(entry, source)], 42, fresh(home / "mix"), benchmarks=[home / "benchmark"])


def plan_all(home: Path) -> None:
    """Stage plan, but for the tokens."""
    merge(prepare(home / "shards", SPEC, home / "plan"))


SPEC = PlanSpec(
    stage="sft",
    tokenizer="none",
    tokenizer_sha256="0",
    tokens_per_image=729,
    prompt="vicuna",
    max_length=2048,
    pack_length=8192,
    global_batch=128,
    epochs=1,
    group_by="modality",
    seed=42,
)


def write_benchmark(home: Path) -> None:
    """Write the pictures of a benchmark: five hundred of COCO's by another name, five thousand of its own."""
    asked = [f"COCO_val2014_{number:012d}.jpg" for number in range(0, 100_000, 200)]
    asked += [f"own/{number}.png" for number in range(5_000)]
    pictures = [looked(ImagePlaces.one(home), path, Inspect()) for path in asked]
    rows = [
        {"source": "quiz", **{name: getattr(one, name) for name in ("path", "sha256", "pixel_hash", "phash")}}
        for one in pictures
    ]
    pq.write_table(pa.Table.from_pylist(rows, IMAGES_SCHEMA), fresh(home / "benchmark") / "images.parquet")


def write_shards(home: Path) -> None:
    """Write what plan reads of the shards: their index, and each tar's lengths, drawn from the text."""
    mixed = pq.read_table(home / "mix" / "mix.parquet")
    chars = pq.read_table(home / "inspect" / "records.parquet", columns=["record_id", "num_chars", "num_turns"])
    place = dict(zip(chars["record_id"].to_pylist(), range(len(chars)), strict=True))
    rows = np.asarray([place[record_id] for record_id in mixed["record_id"].to_pylist()])
    num_images = mixed["num_images"].to_numpy()
    texts = chars["num_chars"].to_numpy()[rows] // 4 + 10 * chars["num_turns"].to_numpy()[rows]
    tokens = np.minimum(texts + 729 * num_images, SPEC.max_length).astype(np.int32)
    positions = np.arange(len(mixed))
    index = mixed.select(["position", "record_id", "source", "num_images"])
    index = index.append_column("shard", pa.array(positions // RECORDS_PER_SHARD, pa.int32()))
    index = index.append_column("place", pa.array(positions % RECORDS_PER_SHARD, pa.int32()))
    pq.write_table(index, fresh(home / "shards") / "index.parquet")
    work = prepare(home / "shards", SPEC, fresh(home / "plan"))
    for number, first in enumerate(work.first_rows[:-1]):
        mine = slice(first, work.first_rows[number + 1])
        columns = {
            "row": positions[mine],
            "num_tokens": tokens[mine],
            "num_supervised": tokens[mine] // 4 + 1,
            "truncated": np.zeros(mine.stop - mine.start, bool),
            "reason": pa.nulls(mine.stop - mine.start, LENGTHS_SCHEMA.field("reason").type),
        }
        pq.write_table(pa.table(columns, LENGTHS_SCHEMA), work.part(number))


def fresh(folder: Path) -> Path:
    """Make an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


DO = dict(zip(STEPS, (read_and_check, mix_all, plan_all), strict=False))
# As LLaVA's and TinyLLaVA Factory's loaders do: the whole file as Python objects. Nothing else is imported.
USUAL = """
import json, pathlib, random, sys
records = json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))
random.Random(42).shuffle(records)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one step took: of its process and all that it started."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


def measured(step: str, home: Path) -> Cost:
    """Run a step in a process of its own and watch its tree, twenty times a second."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    ours = [sys.executable, __file__, "--step", step, "--folder", str(home)]
    process = subprocess.Popen(ours if step in DO else [sys.executable, "-c", USUAL, str(home / "annotations.json")])
    peak, watched = 0, psutil.Process(process.pid)
    while process.poll() is None:
        try:
            tree = [watched, *watched.children(recursive=True)]
            peak = max(peak, sum(one.memory_info().rss for one in tree))
        except psutil.NoSuchProcess:
            continue
        time.sleep(0.05)
    if process.returncode != 0:
        raise SystemExit(f"{step}: exit code {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall_s=time.monotonic() - started, cpu_s=cpu, peak_bytes=peak)


def measure(folder: Path, count: int, steps: Sequence[str] = STEPS, shape: str = "llava") -> dict[str, Cost]:
    """Make the data, run every step on it, and take the data away."""
    home = fresh(folder / f"scale-{count}-{shape}")
    try:
        write_annotations(home / "annotations.json", count, shape)
        (home / SHAPE).write_text(shape)
        size = (home / "annotations.json").stat().st_size
        print(f"{count:,} records, {shape}, {size / 1e9:.2f} GB of JSON", flush=True)
        write_benchmark(home)
        costs = {}
        for step in steps:
            if step == "plan":
                write_shards(home)
            costs[step] = measured(step, home)
            print(f"  {step}: {costs[step]}", flush=True)
        return costs
    finally:
        shutil.rmtree(home)


def compare_shapes(folder: Path, count: int) -> None:
    """Read, check and mix the same records in both shapes, and print what `messages` cost more."""
    both = [measure(folder, count, STEPS[:2], shape) for shape in ("llava", "messages")]
    rows = [
        [step, *(f"{cost[step].cpu_s:.1f}" for cost in both), f"{both[1][step].cpu_s / both[0][step].cpu_s:.2f}x"]
        + [f"{cost[step].peak_bytes / 2**20:,.0f}" for cost in both]
        for step in STEPS[:2]
    ]
    sums = [sum(one.cpu_s for one in cost.values()) for cost in both]
    peaks = [f"{max(one.peak_bytes for one in cost.values()) / 2**20:,.0f}" for cost in both]
    table(
        ["", "llava, CPU s", "messages, CPU s", "more", "llava, peak MiB", "messages, peak MiB"],
        [*rows, ["both", *(f"{one:.1f}" for one in sums), f"{sums[1] / sums[0]:.2f}x", *peaks]],
    )


def main() -> None:
    """Measure a tenth and the whole, and print both side by side."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=1_200_000)
    parser.add_argument("--folder", type=Path, help="for the data, some 4 GB for a while (default: a temporary one)")
    parser.add_argument("--shapes", action="store_true", help="LLaVA's JSON beside `messages`")
    parser.add_argument("--step", choices=DO, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        DO[given.step](given.folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        if given.shapes:
            compare_shapes(folder, given.records)
            return
        few, many = (measure(folder, count) for count in (given.records // 10, given.records))
    rows = []
    for step in STEPS:
        cells = [
            cell
            for cost in (few[step], many[step])
            for cell in (f"{cost.wall_s:.1f}", f"{cost.cpu_s:.1f}", f"{cost.peak_bytes / 2**20:,.0f}")
        ]
        rows.append([step, *cells, f"{many[step].cpu_s / few[step].cpu_s:.1f}x"])
    heads = [
        f"{count:,}: {what}"
        for count in (given.records // 10, given.records)
        for what in ("wall s", "CPU s", "peak MiB")
    ]
    print()
    table(["", *heads, "CPU grows"], rows)


if __name__ == "__main__":
    main()
