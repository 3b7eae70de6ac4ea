"""Inspecting and sharding: images a second on one core, beside plain copying, webdataset's writer and img2dataset.

`python benchmarks/sharding.py [--pictures 2000] [--rounds 3]`. CPU time, one process; img2dataset (two processes, resizing
and re-encoding off) fetches the same files from a server on this machine, whose CPU time is not counted.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import webdataset
from made_up_data import cpu_of, inspected, interleaved, mixed, table, write_source

from tinyllava_core.data.files.tar import TarWriter
from tinyllava_core.data.record.record import InspectedSource
from tinyllava_core.data.shard.lookup import RecordFile, lay_out
from tinyllava_core.data.shard.shard import shard
from tinyllava_core.settings.shard import Shard


def main() -> None:
    """Print what an image costs by each way, and where the sharder's time goes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        write_source(home / "source", given.pictures)
        source = inspected(home / "source", home / "inspect")
        mixed(source, home / "mix")
        took = interleaved(
            {
                "inspect (read, hash, decode wholly)": lambda: inspected(home / "source", fresh(home / "again")),
                "shard": lambda: shard(home / "mix", [source], Shard(), fresh(home / "tars"), processes=1),
                "shard, max_side 336": lambda: shard(
                    home / "mix", [source], Shard(max_side=336), fresh(home / "small"), processes=1
                ),
                "plain copy: tarfile, a loop": lambda: copied(home / "source", home / "copy.tar"),
                "webdataset.ShardWriter": lambda: written(home / "source", fresh(home / "written")),
            },
            given.rounds,
        )
        took["img2dataset, from loopback, with start-up"] = fetched(home, given.pictures)
        took["- its start-up alone"] = fetched(home, 1)
        each = {name: 1e6 * seconds / given.pictures for name, seconds in took.items()}
        table(
            ("", "CPU us an image", "images/s a core"),
            [(name, f"{cost:,.0f}", f"{1e6 / cost:,.0f}") for name, cost in each.items()],
        )
        print()
        table(("where the sharder's time goes", "CPU us an image"), parts(home, source, given.pictures))


def fresh(folder: Path) -> Path:
    """Empty a folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def files(home: Path) -> list[Path]:
    """List the pictures."""
    return sorted((home / "images").iterdir())


def copied(home: Path, tar: Path) -> None:
    """Copy the files into one tar, and look at nothing."""
    with tarfile.open(tar, "w") as to:
        for file in files(home):
            to.add(file, file.name)


def written(home: Path, out: Path) -> None:
    """Write samples of picture and JSON as webdataset's users do; bytes as they are."""
    with webdataset.ShardWriter(str(out / "%06d.tar"), maxcount=10_000, verbose=0) as to:
        for number, file in enumerate(files(home)):
            turns = [{"role": "user", "text": f"<image>\nWhat is in picture {number}?"}]
            to.write({"__key__": f"{number:09d}", "jpg": file.read_bytes(), "json": {"turns": turns}})


def fetched(home: Path, count: int) -> float:
    """Let img2dataset fetch pictures from a server of our own -> the CPU seconds of its processes."""
    server = subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(home / "source")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        port = server.stdout.readline().split("port ")[1].split()[0]
        urls = [f"http://127.0.0.1:{port}/images/{file.name}" for file in files(home / "source")[:count]]
        (home / "urls.txt").write_text("\n".join(urls))
        script = (
            "import sys; from img2dataset import download; download(sys.argv[1], input_format='txt', output_folder=sys.argv[2], "
            "output_format='webdataset', processes_count=2, thread_count=16, resize_mode='no', skip_reencode=True, "
            "number_sample_per_shard=1000, enable_wandb=False)"
        )
        environment = os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1"}
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-W", "ignore", "-c", script, str(home / "urls.txt"), str(fresh(home / "fetched"))]
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    finally:
        server.kill()
        server.wait()


def parts(home: Path, source: InspectedSource, count: int) -> list[tuple[object, ...]]:
    """Measure each thing that the sharder does, alone."""
    paths = files(home / "source")
    data = [file.read_bytes() for file in paths]

    def tar() -> None:
        with TarWriter(home / "parts.tar") as to:
            for number, one in enumerate(data):
                to.add(f"{number:09d}.jpg", one)

    def records() -> None:
        lay_out("made-up", source.records, home / "parts.arrow")
        RecordFile(home / "parts.arrow").read(np.arange(count))

    alone = {
        "find and read the files": lambda: [source.images.find(path.name).read_bytes() for path in paths],  # type: ignore[union-attr]
        "check that they are what was inspected (sha256)": lambda: [hashlib.sha256(one).hexdigest() for one in data],
        "write the tar, with its own sha256": tar,
        "lay the records out, find and read them": records,
    }
    return [(name, f"{1e6 * cpu_of(work) / count:,.0f}") for name, work in alone.items()]


if __name__ == "__main__":
    main()
