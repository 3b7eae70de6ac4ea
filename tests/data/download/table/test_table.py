import dataclasses
import json
import os
import subprocess
import sys
import time
from collections import Counter

import psutil
import pyarrow.parquet as pq
import pytest

from tinyllava_core.data.download.table import one_pass as url_pass
from tinyllava_core.data.download.table import table as module
from tinyllava_core.data.download.table.attempt import Attempt, Note, Notes, write_attempts
from tinyllava_core.data.download.table.fault import MAY_PASS, FetchFault, fault_of
from tinyllava_core.data.download.table.table import Failure, UrlRow, fetch_images, write_failures
from tinyllava_core.data.web.patience import Patience
from tinyllava_core.errors import BadInput

QUICK = Patience(
    image_timeout_s=1.5, image_retries=0, stall_s=60, first_wait_s=0.01, longest_wait_s=0.05, slow_window_s=0.4
)
HERE = ("127.0.0.1",)  # what a manifest that means this machine says


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
    coffee = photos["coffee.png"]
    server.files |= {"/page.jpg": b"<html>gone</html>", "/empty.jpg": b"", "/once.jpg": coffee, "/three.jpg": coffee}
    server.files |= {"/cut.jpg": coffee, "/no.jpg": coffee, "/drip.jpg": coffee, "/long.jpg": coffee}
    server.first = {
        "/500.jpg": [answer(status=500)] * 3,
        "/503.jpg": [answer(status=503)] * 3,
        "/429.jpg": [answer(status=429, headers={"Retry-After": "1"})] * 3,
        "/403.jpg": [answer(status=403)] * 3,
        "/once.jpg": [answer(status=500)],
        "/slow.jpg": [answer(wait_s=4.0)] * 3,
        "/cut.jpg": [answer(cut_after=100)] * 3,
        "/long.jpg": [answer(length=len(coffee) + 1)] * 3,
        "/no.jpg": [answer(headers={"X-Robots-Tag": "noai"})] * 3,
        "/drip.jpg": [answer(drip_s=0.05)] * 3,
        "/headers.jpg": [answer(drip_headers=True)] * 3,
        "/closed.jpg": [answer(close=True)] * 3,
        "/circle.jpg": [answer(status=302, headers={"Location": "/circle.jpg"})] * 30,
        "/one.jpg": [answer(status=302, headers={"Location": "/two.jpg"})],
        "/two.jpg": [answer(status=301, headers={"Location": "/three.jpg"})],
    }
    bad = {
        "404.jpg": FetchFault.HTTP_404,
        "500.jpg": FetchFault.HTTP_500,
        "503.jpg": FetchFault.HTTP_5XX,
        "429.jpg": FetchFault.HTTP_429,
        "403.jpg": FetchFault.HTTP_4XX,
        "slow.jpg": FetchFault.TIMEOUT,
        "drip.jpg": FetchFault.TIMEOUT,
        "headers.jpg": FetchFault.TIMEOUT,
        "cut.jpg": FetchFault.TRUNCATED,
        "long.jpg": FetchFault.TRUNCATED,
        "closed.jpg": FetchFault.CONNECTION,
        "circle.jpg": FetchFault.REDIRECTS,
        "no.jpg": FetchFault.DISALLOWED,
        "page.jpg": FetchFault.NOT_AN_IMAGE,
        "empty.jpg": FetchFault.NOT_AN_IMAGE,
        "file.jpg": FetchFault.BAD_URL,
        "none.jpg": FetchFault.BAD_URL,
        "port.jpg": FetchFault.CONNECTION,
    }
    asked_for = [name for name in bad if name not in ("file.jpg", "none.jpg", "port.jpg")]
    table = rows(server, *photos, "once.jpg", "one.jpg", *asked_for)
    table.insert(1, UrlRow(name="file.jpg", url="file:///etc/hostname", written="file:///etc/hostname"))
    table.append(UrlRow(name="none.jpg", url="", written=""))
    table.append(UrlRow(name="port.jpg", url="http://127.0.0.1:1/x.jpg", written="http://127.0.0.1:1/x.jpg"))
    told = []
    images, work = tmp_path / "images", tmp_path / "work"
    patience = dataclasses.replace(QUICK, image_retries=2)
    found = fetch_images(table, images, work, patience=patience, on_rows=told.append, allow_hosts=HERE)
    failures = found.failures
    assert {failure.name: failure.reason for failure in failures} == bad
    order = [row.name for row in table]
    assert [failure.name for failure in failures] == sorted(bad, key=order.index), "in the table's order"
    assert all(failure.detail for failure in failures)
    assert next(failure.url for failure in failures if failure.name == "404.jpg") == "toyworld://404.jpg"
    came = {str(path.relative_to(images)): path.read_bytes() for path in images.rglob("*") if path.is_file()}
    assert came == photos | {"once.jpg": coffee, "one.jpg": coffee}
    assert told[-1] == len(table) - 2  # the two that nobody could fetch were not tried

    # every attempt is told: two more where a retry may help, none where not
    attempts = {}
    for attempt in found.attempts:
        attempts.setdefault(attempt.name, []).append(attempt)
    assert {name: len(made) for name, made in attempts.items()} == {
        name: 3 if bad.get(name) in MAY_PASS else 2 if name == "once.jpg" else 1
        for name in order
        if bad.get(name) is not FetchFault.BAD_URL
    }
    once = attempts["once.jpg"]
    assert [(one.attempt, one.reason, one.http_status) for one in once] == [(0, "http_500", 500), (1, None, 200)]
    assert once[1].size_bytes == len(coffee)
    statuses = {name: made[0].http_status for name, made in attempts.items()}
    assert statuses["404.jpg"] == 404
    assert statuses["429.jpg"] == 429
    assert statuses["port.jpg"] is statuses["closed.jpg"] is statuses["slow.jpg"] is None
    assert statuses["cut.jpg"] == statuses["page.jpg"] == 200
    assert attempts["slow.jpg"][0].milliseconds >= 1000 * QUICK.slow_window_s
    asked = Counter(path for path, _ in server.asked)
    assert asked["/404.jpg"] == asked["/page.jpg"] == 1
    assert asked["/500.jpg"] == 3

    # the same again asks for nothing, whatever became of the images folder
    before = len(server.asked)
    assert fetch_images(table, tmp_path / "again", work, patience=patience, allow_hosts=HERE) == found
    assert len(server.asked) == before
    assert (tmp_path / "again" / "once.jpg").read_bytes() == coffee


def test_too_few_images_are_an_error_with_the_reasons_and_the_next_call_tries_the_rest(
    tmp_path, server, answer, photos, monkeypatch
):
    names = [f"{number}.jpg" for number in range(8)]
    server.files = {f"/{name}": photos["cats/chelsea.jpg"] for name in names[:6]}
    server.first = {f"/{name}.jpg": [answer(status=503)] * times for name, times in ((0, 1), (1, 2), (2, 2))}
    table, patience = rows(server, *names), dataclasses.replace(QUICK, image_retries=1)
    with pytest.raises(BadInput) as error:
        fetch_images(
            table, tmp_path / "images", tmp_path / "work", min_success=0.75, patience=patience, allow_hosts=HERE
        )
    assert str(error.value).startswith(
        "4 of 8 images came (50.0 %), less than min_success = 0.75; failed: http_5xx 2, http_404 2. Run it again to retry"
    )
    assert not (tmp_path / "images").exists()
    del server.asked[:]
    found = fetch_images(
        table, tmp_path / "images", tmp_path / "work", min_success=0.75, patience=patience, allow_hosts=HERE
    )
    assert sorted(path for path, _ in server.asked) == ["/1.jpg", "/2.jpg"], "neither what came, nor what is gone"
    assert [(failure.name, failure.reason) for failure in found.failures] == [
        ("6.jpg", "http_404"),
        ("7.jpg", "http_404"),
    ]
    assert [one.attempt for one in found.attempts if one.name == "2.jpg"] == [0, 1, 2]


@pytest.mark.parametrize("distributor", ["ray", "pyspark"])
def test_a_distributor_whose_package_is_missing_is_refused_in_one_line(tmp_path, monkeypatch, distributor):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput) as error:
        fetch_images([], tmp_path / "images", tmp_path / "work", distributor=distributor)
    assert str(error.value) == (
        f"url_table.distributor '{distributor}' needs the package {distributor} "
        f"(pip install 'tinyllava-pipelines[{distributor}]'), which is not installed; or take 'multiprocessing'"
    )
    assert not (tmp_path / "work").exists()


def test_kill_9_of_the_caller_leaves_no_process_and_a_later_call_goes_on(tmp_path, server, answer, photos, monkeypatch):
    """Two shards: the first is finished and kept; the second hangs, and its rows alone are asked for again."""
    monkeypatch.setattr(url_pass, "ROWS_PER_SHARD", 10)
    names = [f"{number:02d}.jpg" for number in range(12)]
    server.files = {f"/{name}": photos["cats/chelsea.jpg"] for name in names}
    server.first = {"/11.jpg": [answer(wait_s=600)]}
    table, work = rows(server, *names), tmp_path / "work"
    caller = """
import json, sys
from pathlib import Path
from tinyllava_core.data.download.table import one_pass as url_pass
from tinyllava_core.data.download.table import table as url_table
from tinyllava_core.data.web.patience import Patience
url_pass.ROWS_PER_SHARD = 10
rows = [url_table.UrlRow(**row) for row in json.loads(sys.argv[1])]
folder = Path(sys.argv[2])
url_table.fetch_images(rows, folder / "images", folder / "work", patience=Patience(image_timeout_s=500, image_longest_s=500, slow_window_s=500), allow_hosts=["127.0.0.1"])
"""
    arguments = json.dumps([dataclasses.asdict(row) for row in table])
    process = subprocess.Popen([sys.executable, "-c", caller, arguments, str(tmp_path)])
    finished = work / "pass-0" / "img2dataset" / "00000_stats.json"
    wait_until(
        lambda: process.poll() is not None or (finished.exists() and ("/11.jpg", None) in server.asked), seconds=120
    )
    assert process.poll() is None
    leader = _processes_of(work)
    group = leader + [child.pid for pid in leader for child in psutil.Process(pid).children(recursive=True)]
    assert len(group) >= 3, "the leader, its logger, a worker"
    process.kill()
    process.wait()
    wait_until(lambda: not any(_alive(pid) for pid in group), seconds=60)

    del server.asked[:]
    found = fetch_images(table, tmp_path / "images", work, patience=QUICK, allow_hosts=HERE)
    assert found.failures == ()
    assert [attempt.name for attempt in found.attempts] == names
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
    work = tmp_path / "work"
    module._begin(work, first)
    (work / "kept").touch()
    module._begin(work, first)
    assert (work / "kept").exists()
    module._begin(work, [UrlRow(name="a", url="http://other:99/a", written="http://h/a")])
    assert (work / "kept").exists(), "a port is no other table"
    module._begin(work, [UrlRow(name="b", url="http://h/a", written="http://h/a")])
    assert not (work / "kept").exists()


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ("HTTP Error 404: Not Found", FetchFault.HTTP_404),
        ("HTTP Error 410: Gone", FetchFault.HTTP_4XX),
        ("HTTP Error 429: Too Many Requests", FetchFault.HTTP_429),
        ("HTTP Error 500: Internal Server Error", FetchFault.HTTP_500),
        ("HTTP Error 503: Service Unavailable", FetchFault.HTTP_5XX),
        ("HTTP Error 301: The HTTP server returned a redirect error", FetchFault.REDIRECTS),
        ("timed out", FetchFault.TIMEOUT),
        ("<urlopen error timed out>", FetchFault.TIMEOUT),
        ("The read operation timed out", FetchFault.TIMEOUT),
        ("Remote end closed connection without response", FetchFault.CONNECTION),
        ("<urlopen error [Errno 111] Connection refused>", FetchFault.CONNECTION),
        ("<urlopen error [Errno -2] Name or service not known>", FetchFault.NO_HOST),
        ("<urlopen error [Errno -3] Temporary failure in name resolution>", FetchFault.CONNECTION),
        ("timed out: only 12 bytes in 30.0 s", FetchFault.TIMEOUT),
        ("more than 268435456 bytes", FetchFault.TOO_BIG),
        ("IncompleteRead(100 bytes read, 5 more expected)", FetchFault.TRUNCATED),
        ("Use of image disallowed by X-Robots-Tag directive", FetchFault.DISALLOWED),
        ("URL can't contain control characters. '/a b' (found at least ' ')", FetchFault.BAD_URL),
        ("something new", FetchFault.UNFORESEEN),
        ("", FetchFault.UNFORESEEN),
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


def test_attempts_are_a_table_even_when_there_are_none(tmp_path):
    write_attempts([], tmp_path / "attempts.parquet")
    assert pq.read_table(tmp_path / "attempts.parquet").num_rows == 0
    made = {"url": "u", "name": "n", "attempt": 1, "http_status": 503, "size_bytes": 0, "milliseconds": 1.5}
    write_attempts([Attempt(**made, reason=FetchFault.HTTP_5XX)], tmp_path / "attempts.parquet")
    assert pq.read_table(tmp_path / "attempts.parquet").to_pylist() == [made | {"reason": "http_5xx"}]


def test_notes_of_a_killed_process_are_read_as_far_as_they_go(tmp_path):
    first = Note(url="a", http_status=200, size_bytes=3, milliseconds=1.0)
    second = Note(url="a", http_status=503, size_bytes=0, milliseconds=2.0, asked_s=7.0)
    (tmp_path / "00000-1.jsonl").write_text(first.line() + second.line() + second.line()[:20])
    notes = Notes(tmp_path)
    assert [notes.take("a"), notes.take("a"), notes.take("a"), notes.take("b")] == [second, first, first, None]


def test_rows_that_are_not_asked_for_are_failures_with_their_reasons(tmp_path):
    bad = UrlRow(name="x", url="", written="http://[", fault=FetchFault.BAD_URL, detail="Invalid IPv6 URL")
    long = UrlRow(name="n", url="", written="http://h/", fault=FetchFault.BAD_NAME, detail="too long")
    found = fetch_images([bad, long], tmp_path / "images", tmp_path / "work", patience=QUICK)
    assert [(failure.url, failure.reason, failure.detail) for failure in found.failures] == [
        ("http://[", "bad_url", "Invalid IPv6 URL"),
        ("http://h/", "bad_name", "too long"),
    ]


def test_what_nobody_foresaw_ends_a_table_only_if_it_is_much():
    def unforeseen(number):
        one = Failure(url="u", name="n", reason=FetchFault.UNFORESEEN, detail="KeyError: 'x'")
        return [one] * number

    module._check_foreseen(100, unforeseen(20))
    module._check_foreseen(10_000, unforeseen(500))
    for rows, number in ((100, 21), (10_000, 501)):
        with pytest.raises(
            RuntimeError, match=f"{number} of {rows} rows failed .* nobody foresaw; the first: n: KeyError"
        ):
            module._check_foreseen(rows, unforeseen(number))


def test_a_file_that_cannot_be_put_into_its_place_is_its_rows_own_fault(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    came = module._Answer(file=tmp_path / "a", fault=None)
    assert module._linked(came, tmp_path / "images" / "b") == came
    lost = module._linked(came, tmp_path / "images" / ("x" * 256))
    assert (lost.file, lost.fault) == (None, "unforeseen")
    assert "File name too long" in lost.detail
