"""SIGKILL a download at a bad moment and give the same command again: the same files, and nothing complete comes twice."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from waiting import wait_until

from tinyllava_core.data.download.download import download
from tinyllava_core.data.download.table import one_pass as url_pass
from tinyllava_core.data.manifest.manifest import load
from tinyllava_core.data.web.patience import Patience

QUICK = Patience(first_wait_s=0.01, image_retries=0)
# The downloader as another process: it stands still at the first file that is unpacked, if it is told to.
CALLER = """
import sys, time
from pathlib import Path
from tinyllava_core.data.files import archive
from tinyllava_core.data.download.table import one_pass as url_pass
from tinyllava_core.data.download.download import download
from tinyllava_core.data.manifest.manifest import load
from tinyllava_core.data.web.patience import Patience
url_pass.ROWS_PER_SHARD = 10
folder = Path(sys.argv[1])
write = archive._write
def stand(member, target):
    write(member, target)
    print("unpacking", flush=True)
    time.sleep(600)
if sys.argv[2] == "unpack":
    archive._write = stand
(folder / "out").mkdir()
download(load(str(folder / "mine.yaml")), folder / "out", folder / "cache", None, Patience(image_timeout_s=500))
"""


@pytest.fixture
def world(tmp_path, server, photos, monkeypatch, moment):
    """A manifest of one archive, or of one table of 12 images in two shards, and the files behind it."""
    monkeypatch.setattr(url_pass, "ROWS_PER_SHARD", 10)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for number in range(20):
            file.writestr(f"a/{number}.jpg", os.urandom(50_000))
    names = [f"{number:02d}.jpg" for number in range(12)]
    server.files = {f"/p/{name}": photos["cats/chelsea.jpg"] + name.encode() for name in names}
    server.files |= {"/d.json": b"[]", "/a.zip": archive.getvalue()}
    server.files["/urls.jsonl"] = b"\n".join(json.dumps({"url": f"p/{name}", "name": name}).encode() for name in names)
    fields = {
        "name": "mine",
        "annotations": {"url": f"{server.url}/d.json", "format": "llava"},
        "images": [{"archive": {"url": f"{server.url}/a.zip"}}],
    }
    if moment == "table":
        fields["images"] = [{"url_table": {"url": f"{server.url}/urls.jsonl", "min_success": 1.0}}]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(fields))
    return tmp_path


def make(folder: Path, cache: str) -> str:
    """Download into a fresh folder, as a stage does, and give the hash of all that came."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    download(load(str(folder / "mine.yaml")), out, folder / cache, patience=QUICK)
    digest = hashlib.sha256()
    for path in sorted(path for path in out.rglob("*") if path.is_file() and path.name != "attempts.parquet"):
        digest.update(f"{path.relative_to(out)}\t{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    attempts = pq.read_table(out / "attempts.parquet").drop_columns(["milliseconds"])  # the one thing that differs
    return f"{digest.hexdigest()} {attempts.to_pylist()}"


@pytest.mark.parametrize("moment", ["file", "unpack", "table"])
def test_kill_9_then_again_gives_the_same_bytes_and_asks_for_nothing_that_was_complete(world, server, answer, moment):
    undisturbed = make(world, "another-cache")
    shutil.rmtree(world / "out")
    del server.asked[:]
    if moment == "file":
        server.first["/a.zip"] = [answer(cut_after=600_000), answer(wait_s=600)]
    elif moment == "table":
        server.first["/p/11.jpg"] = [answer(wait_s=600)]
    process = subprocess.Popen([sys.executable, "-c", CALLER, str(world), moment], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    if moment == "file":
        wait_until(lambda: process.poll() is not None or ("/a.zip", "bytes=600000-") in server.asked, 60)
    elif moment == "unpack":
        assert process.stdout.readline() == "unpacking\n"
    else:
        cache, begun = world / "cache" / "downloads", {("/p/10.jpg", None), ("/p/11.jpg", None)}
        wait_until(
            lambda: process.poll() is not None or (begun <= set(server.asked) and any(cache.rglob("00000_stats.json"))),
            120,
        )
    assert process.poll() is None
    process.kill()
    process.wait()
    del server.asked[:]
    assert make(world, "cache") == undisturbed
    expected = {
        "file": [("/a.zip", "bytes=600000-")],
        "unpack": [],
        "table": [("/p/10.jpg", None), ("/p/11.jpg", None)],
    }
    assert sorted(server.asked, key=str) == expected[moment]
