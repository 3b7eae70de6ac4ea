import dataclasses
import json
import os
import subprocess
import sys
import time

import psutil
import pyarrow.parquet as pq
import pytest

from tinyllava_core.data import url_table as module
from tinyllava_core.data.patience import Patience
from tinyllava_core.data.url_table import Failure, FetchFault, UrlRow, fault_of, fetch_images, write_failures

QUICK = Patience(image_timeout_s=2.0, image_retries=2, stall_s=60)


def rows(server, *names):
    return [UrlRow(name=name, url=f"{server.url}/{name}", written=f"toyworld://{name}") for name in names]


def test_good_images_come_with_their_bytes_and_each_bad_row_under_its_reason(
    tmp_path, server, answer, photos, monkeypatch
):
    """One real run of img2dataset, with the `dataclasses` back-port's folder on the path as Prefect puts it."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "dataclasses.py").write_text("raise ImportError('the back-port')")
    path = os.pathsep.join(filter(None, (str(tmp_path / "site"), os.environ.get("PYTHONPATH"))))
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    server.files = {f"/{name}": data for name, data in photos.items()}
    server.files |= {"/page.jpg": b"<html>gone</html>", "/empty.jpg": b"", "/once.jpg": photos["coffee.png"]}
    server.files |= {"/cut.jpg": photos["coffee.png"], "/no.jpg": photos["coffee.png"]}
    server.first = {
        "/500.jpg": [answer(status=500)] * 3,
        "/503.jpg": [answer(status=503)] * 3,
        "/429.jpg": [answer(status=429)] * 3,
        "/403.jpg": [answer(status=403)] * 3,
        "/once.jpg": [answer(status=500)],
        "/slow.jpg": [answer(wait_s=4.0)] * 3,
        "/cut.jpg": [answer(cut_after=100)] * 3,
        "/no.jpg": [answer(headers={"X-Robots-Tag": "noai"})] * 3,
    }
    bad = {
        "404.jpg": FetchFault.HTTP_404,
        "500.jpg": FetchFault.HTTP_500,
        "503.jpg": FetchFault.HTTP_5XX,
        "429.jpg": FetchFault.HTTP_429,
        "403.jpg": FetchFault.HTTP_4XX,
        "slow.jpg": FetchFault.TIMEOUT,
        "cut.jpg": FetchFault.TRUNCATED,
        "no.jpg": FetchFault.DISALLOWED,
        "page.jpg": FetchFault.NOT_AN_IMAGE,
        "empty.jpg": FetchFault.NOT_AN_IMAGE,
        "file.jpg": FetchFault.BAD_URL,
        "none.jpg": FetchFault.BAD_URL,
        "port.jpg": FetchFault.CONNECTION,
    }
    table = rows(
        server, *photos, "once.jpg", *(name for name in bad if name not in ("file.jpg", "none.jpg", "port.jpg"))
    )
    table.insert(1, UrlRow(name="file.jpg", url="file:///etc/hostname", written="file:///etc/hostname"))
    table.append(UrlRow(name="none.jpg", url="", written=""))
    table.append(UrlRow(name="port.jpg", url="http://127.0.0.1:1/x.jpg", written="http://127.0.0.1:1/x.jpg"))
    told = []
    images, work = tmp_path / "images", tmp_path / "work"
    failures = fetch_images(table, images, work, patience=QUICK, on_rows=told.append)
    assert {failure.name: failure.reason for failure in failures} == bad
    order = [row.name for row in table]
    assert [failure.name for failure in failures] == sorted(bad, key=order.index), "in the table's order"
    assert all(failure.detail for failure in failures)
    assert next(failure.url for failure in failures if failure.name == "404.jpg") == "toyworld://404.jpg"
    found = {str(path.relative_to(images)): path.read_bytes() for path in images.rglob("*") if path.is_file()}
    assert found == photos | {"once.jpg": photos["coffee.png"]}
    assert told[-1] == len(table) - 2  # the two that nobody could fetch were not tried

    # the same again asks for nothing, whatever became of the images folder
    asked = len(server.asked)
    assert fetch_images(table, tmp_path / "again", work, patience=QUICK) == failures
    assert len(server.asked) == asked
    assert (tmp_path / "again" / "once.jpg").read_bytes() == photos["coffee.png"]


def test_kill_9_of_the_caller_leaves_no_process_and_a_later_call_goes_on(tmp_path, server, answer, photos, monkeypatch):
    """Two shards: the first is finished and kept; the second hangs, and its rows alone are asked for again."""
    monkeypatch.setattr(module, "ROWS_PER_SHARD", 10)
    names = [f"{number:02d}.jpg" for number in range(12)]
    server.files = {f"/{name}": photos["cats/chelsea.jpg"] for name in names}
    server.first = {"/11.jpg": [answer(wait_s=600)]}
    table, work = rows(server, *names), tmp_path / "work"
    caller = """
import json, sys
from pathlib import Path
from tinyllava_core.data import url_table
from tinyllava_core.data.patience import Patience
url_table.ROWS_PER_SHARD = 10
rows = [url_table.UrlRow(**row) for row in json.loads(sys.argv[1])]
folder = Path(sys.argv[2])
url_table.fetch_images(rows, folder / "images", folder / "work", patience=Patience(image_timeout_s=500))
"""
    arguments = json.dumps([dataclasses.asdict(row) for row in table])
    process = subprocess.Popen([sys.executable, "-c", caller, arguments, str(tmp_path)])
    finished = work / "img2dataset" / "00000_stats.json"
    wait_until(lambda: finished.exists() and ("/11.jpg", None) in server.asked, seconds=120)
    leader = _processes_of(work)
    group = leader + [child.pid for pid in leader for child in psutil.Process(pid).children(recursive=True)]
    assert len(group) >= 3, "the leader, its logger, a worker"
    process.kill()
    process.wait()
    wait_until(lambda: not any(_alive(pid) for pid in group), seconds=10)

    del server.asked[:]
    assert fetch_images(table, tmp_path / "images", work, patience=QUICK) == []
    assert {path for path, _ in server.asked} == {"/10.jpg", "/11.jpg"}
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == names


def wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def _alive(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def _processes_of(work):
    """List the processes whose command line names this folder."""
    return [
        p.pid
        for p in psutil.process_iter(["cmdline"])
        if str(work) in " ".join(p.info["cmdline"] or []) and _alive(p.pid)
    ]


def test_another_table_does_not_find_the_first_ones_images(tmp_path):
    first = [UrlRow(name="a", url="http://h/a", written="http://h/a")]
    output = module._work_folder(tmp_path / "work", first)
    (output / "00000_stats.json").write_text("{}")
    assert (module._work_folder(tmp_path / "work", first) / "00000_stats.json").exists()
    moved = [UrlRow(name="a", url="http://other:99/a", written="http://h/a")]
    assert (module._work_folder(tmp_path / "work", moved) / "00000_stats.json").exists(), "a port is no other table"
    second = [UrlRow(name="b", url="http://h/a", written="http://h/a")]
    assert not (module._work_folder(tmp_path / "work", second) / "00000_stats.json").exists()


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ("HTTP Error 404: Not Found", FetchFault.HTTP_404),
        ("HTTP Error 410: Gone", FetchFault.HTTP_4XX),
        ("HTTP Error 429: Too Many Requests", FetchFault.HTTP_429),
        ("HTTP Error 500: Internal Server Error", FetchFault.HTTP_500),
        ("HTTP Error 503: Service Unavailable", FetchFault.HTTP_5XX),
        ("HTTP Error 301: a redirect loop", FetchFault.OTHER),
        ("timed out", FetchFault.TIMEOUT),
        ("<urlopen error timed out>", FetchFault.TIMEOUT),
        ("The read operation timed out", FetchFault.TIMEOUT),
        ("Remote end closed connection without response", FetchFault.CONNECTION),
        ("<urlopen error [Errno 111] Connection refused>", FetchFault.CONNECTION),
        ("<urlopen error [Errno -2] Name or service not known>", FetchFault.CONNECTION),
        ("IncompleteRead(100 bytes read, 5 more expected)", FetchFault.TRUNCATED),
        ("Use of image disallowed by X-Robots-Tag directive", FetchFault.DISALLOWED),
        ("URL can't contain control characters. '/a b' (found at least ' ')", FetchFault.BAD_URL),
        ("something new", FetchFault.OTHER),
        ("", FetchFault.OTHER),
    ],
)
def test_an_error_text_is_mapped_to_its_fault(message, fault):
    assert fault_of(message) == fault


def test_failures_are_a_table_even_when_there_are_none(tmp_path):
    write_failures([], tmp_path / "failures.parquet")
    assert pq.read_table(tmp_path / "failures.parquet").to_pylist() == []
    write_failures([Failure(url="u", name="n", reason=FetchFault.HTTP_404, detail="d")], tmp_path / "failures.parquet")
    rows = pq.read_table(tmp_path / "failures.parquet").to_pylist()
    assert rows == [{"url": "u", "name": "n", "reason": "http_404", "detail": "d"}]
