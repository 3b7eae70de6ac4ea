"""What rows of Parquet with pictures cost on their way into tars, beside the usual way; and records of other shapes beside LLaVA's.

    python benchmarks/parquet.py [--rows 10000] [--records 100000] [--group-mb 0]

Pictures: 20 kB of noise each under a JPEG's head (nothing decodes them). Each way runs in a process of its own: CPU of it
and its children, the imports included, and its greatest memory. --group-mb 2000 makes one row group of 2 GB, to be read in one process.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

PICTURE_BYTES = 20_000
AVERAGE_BYTES = 290_000  # of FineVision's pictures: 5 TB for 17.3 million


def write_parquet(file: Path, told: Path) -> None:
    """Write a file as FineVision has them. `told`: rows-rows of a group-bytes of a picture."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows, rows_per_group, picture_bytes = map(int, told.name.split("-"))
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    text = pa.struct([("user", pa.string()), ("assistant", pa.string())])
    ratings = pa.list_(pa.int64())
    schema = pa.schema([("images", pa.list_(picture)), ("texts", pa.list_(text)), ("relevance_ratings", ratings)])
    noise = np.random.default_rng(0)
    pieces = []
    for start in range(0, rows, 100):
        piece = [
            {
                "images": [{"bytes": b"\xff\xd8\xff" + noise.bytes(picture_bytes - 3), "path": "1.jpg"}],
                "texts": [{"user": f"What is in picture {row}?", "assistant": "A bench, red, beside a tree."}] * 3,
                "relevance_ratings": [5, 4, 3],
            }
            for row in range(start, min(start + 100, rows))
        ]
        pieces.append(pa.Table.from_pylist(piece, schema))
    pq.write_table(pa.concat_tables(pieces), file, row_group_size=rows_per_group, use_dictionary=False)


def ours(file: Path, to: Path) -> None:
    """Rows to lines, pictures into a tar, as stage `download` does."""
    from tinyllava_core.data.download.embedded.laid_out import RowFile, lay_out

    lay_out(RowFile(name=file.name, subset="x", identity=""), lambda: file, to, True, lambda done, total: None)


def batches_alone(file: Path, to: Path) -> None:
    """Only read every row."""
    from tinyllava_core.data.download.embedded.rows import rows

    sum(1 for _ in rows(file))


def usual(file: Path, to: Path) -> None:
    """Load with `datasets`, write one file a picture, then shards with webdataset's ShardWriter."""
    import datasets
    import webdataset

    loaded = datasets.load_dataset("parquet", data_files=str(file), split="train", cache_dir=str(to / "cache"))
    (to / "files").mkdir()
    lines = []
    for number, row in enumerate(loaded):
        for picture in row["images"]:
            (to / "files" / f"{number:09d}.jpg").write_bytes(picture["bytes"])
        lines.append(json.dumps({key: value for key, value in row.items() if key != "images"}))
    with webdataset.ShardWriter(str(to / "shard-%06d.tar"), maxcount=1000, verbose=0) as writer:
        for number, line in enumerate(lines):
            data = (to / "files" / f"{number:09d}.jpg").read_bytes()
            writer.write({"__key__": f"{number:09d}", "jpg": data, "json": line.encode()})


def write_records(file: Path, shape: str, count: int) -> None:
    """Write the same conversations in LLaVA's shape or as messages."""
    chance, words = (
        random.Random(0),
        [
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
            "a",
            "house",
        ],
    )
    with file.open("w") as out:
        for index in range(count):
            said = [" ".join(chance.choices(words, k=12)) for _ in range(6)]
            if shape == "llava":
                turns = [{"from": ("human", "gpt")[n % 2], "value": text} for n, text in enumerate(said)]
                turns[0]["value"] = f"<image>\n{turns[0]['value']}"
                item = {"id": str(index), "image": f"{index}.jpg", "conversations": turns}
            else:
                parts = [[{"type": "text", "text": text}] for text in said]
                parts[0].insert(0, {"type": "image"})
                turns = [{"role": ("user", "assistant")[n % 2], "content": part} for n, part in enumerate(parts)]
                item = {"id": str(index), "images": [f"{index}.jpg"], "messages": turns}
            out.write(json.dumps(item) + "\n")


def inspected(file: Path, to: Path) -> None:
    """Find, parse, check and write the records of a file, their pictures believed, and mix them."""
    from tinyllava_core.data.files.places import ImagePlaces
    from tinyllava_core.data.inspect.inspect import inspect_source
    from tinyllava_core.data.inspect.picture import Picture
    from tinyllava_core.data.mix.mix import mix
    from tinyllava_core.data.record.record import InspectedSource
    from tinyllava_core.results import DownloadResult
    from tinyllava_core.settings.mix import MixEntry

    def believed(images: object, path: str, limits: object) -> Picture:
        return Picture(
            path=path, sha256=f"{hash(path) % 2**64:064x}", width=640, height=480, format="JPEG", size_bytes=1
        )

    facts = dict.fromkeys(("licence", "num_expected"), None) | dict.fromkeys(
        ("num_files", "size_bytes", "num_requested", "num_failed"), 0
    )
    result = DownloadResult(
        source="s", kind="source", urls="", annotations=str(file), annotations_sha256="", image_root=".", **facts
    )  # fmt: skip
    form = file.stem
    inspect_source(to, result, form, 0.0, to, images=ImagePlaces.one(to), look=believed, processes=1)
    mix([(MixEntry(source="s"), InspectedSource(name="s", records=to, images=ImagePlaces.one(to)))], 0, to)


WAYS = {"write": write_parquet, "ours": ours, "batches alone": batches_alone, "usual": usual, "inspected": inspected}


def measured(way: str, file: Path, to: str = "") -> tuple[float, float]:
    """Run one way in a process of its own -> CPU seconds, greatest memory in MB."""
    with tempfile.TemporaryDirectory() as scratch:
        ran = subprocess.run(
            [sys.executable, __file__, "--way", way, "--file", str(file), "--to", to or scratch],
            capture_output=True,
            text=True,
            check=True,
        )
    cpu, peak = map(float, ran.stdout.split()[-2:])
    return cpu, peak


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--group-mb", type=int, default=0)
    for hidden in ("--way", "--file", "--to"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        before = resource.getrusage(resource.RUSAGE_SELF)
        WAYS[args.way](Path(args.file), Path(args.to))
        after = resource.getrusage(resource.RUSAGE_SELF)
        below = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime + below.ru_utime + below.ru_stime
        print(cpu, after.ru_maxrss / 1000)
        return
    with tempfile.TemporaryDirectory() as home:
        file = Path(home) / "rows.parquet"
        if args.group_mb:
            rows = args.group_mb * 1_000_000 // AVERAGE_BYTES
            measured("write", file, f"{rows}-{rows}-{AVERAGE_BYTES}")
            cpu, peak = measured("ours", file)
            print(f"one row group of {args.group_mb} MB: {cpu:.1f} s of CPU, greatest memory {peak:,.0f} MB")
            return
        measured("write", file, f"{args.rows}-500-{PICTURE_BYTES}")
        found = {way: measured(way, file) for way in ("ours", "batches alone", "usual")}
        print(f"{args.rows:,} rows with a picture of {PICTURE_BYTES:,} bytes")
        for way, (cpu, peak) in found.items():
            ratio = cpu / found["ours"][0]
            print(f"{way:<14} {1e6 * cpu / args.rows:8.0f} us of CPU a picture  {ratio:5.1f} x  {peak:7,.0f} MB")
        times = {}
        for shape in ("llava", "messages"):
            file = Path(home) / f"{shape}.jsonl"
            write_records(file, shape, args.records)
            times[shape] = measured("inspected", file)[0]
        print(f"{args.records:,} records inspected and mixed, their pictures believed")
        for shape, cpu in times.items():
            print(f"{shape:<14} {1e6 * cpu / args.records:8.0f} us of CPU a record   {cpu / times['llava']:5.2f} x")


if __name__ == "__main__":
    main()
