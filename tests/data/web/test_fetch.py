import dataclasses
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from tinyllava_core.data.web import remote
from tinyllava_core.data.web.fetch import Fetched, NoHost, fetch, file_name, file_places
from tinyllava_core.data.web.patience import Patience
from tinyllava_core.errors import BadInput

QUICK = Patience(attempts=3, first_wait_s=0.01, longest_wait_s=0.05, timeout_s=0.5)
DATA = os.urandom(3_000_000)
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def url(server):
    server.files["/a.bin"] = DATA
    return f"{server.url}/a.bin"


def test_a_file_comes_whole_and_nothing_else_is_left(tmp_path, url):
    told = []
    found = fetch(url, tmp_path / "a", sha256=SHA, size_bytes=len(DATA), on_bytes=lambda *at: told.append(at))
    assert found == Fetched(size_bytes=len(DATA), sha256=SHA)
    assert (tmp_path / "a").read_bytes() == DATA
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert told[-1] == (len(DATA), len(DATA))
    assert told == sorted(told)


def test_an_empty_file_is_a_file(tmp_path, server):
    server.files["/e"] = b""
    assert fetch(f"{server.url}/e", tmp_path / "e").size_bytes == 0


def test_a_body_that_ends_early_is_gone_on_with_where_it_ended(tmp_path, server, url, answer):
    server.first["/a.bin"] = [answer(cut_after=1_000_000), answer(cut_after=500_000)]
    fetch(url, tmp_path / "a", sha256=SHA, patience=QUICK)
    assert [asked for _, asked in server.asked] == [None, "bytes=1000000-", "bytes=1500000-"]


def test_new_bytes_renew_the_patience(tmp_path, server, url, answer):
    server.first["/a.bin"] = [answer(cut_after=100_000)] * 10  # more than QUICK's attempts
    fetch(url, tmp_path / "a", sha256=SHA, patience=QUICK)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408])
def test_a_passing_fault_is_tried_again(tmp_path, server, url, answer, status):
    server.first["/a.bin"] = [answer(status=status)] * 2
    fetch(url, tmp_path / "a", sha256=SHA, patience=QUICK)
    assert len(server.asked) == 3


def test_retry_after_is_waited_for_up_to_the_longest_wait(tmp_path, server, url, answer):
    server.first["/a.bin"] = [answer(status=429, headers={"Retry-After": "1"})]
    patience = Patience(first_wait_s=0.0, longest_wait_s=0.3)
    started = time.monotonic()
    fetch(url, tmp_path / "a", patience=patience)
    assert 0.3 <= time.monotonic() - started < 0.9


def test_silence_is_a_passing_fault(tmp_path, server, url, answer):
    server.first["/a.bin"] = [answer(wait_s=0.8)]
    fetch(url, tmp_path / "a", sha256=SHA, patience=QUICK)


def test_patience_ends_and_the_bytes_are_kept(tmp_path, server, url, answer):
    server.first["/a.bin"] = [answer(cut_after=1000)] + [answer(status=503)] * 3
    with pytest.raises(
        ConnectionError,
        match=r"gave up after 3 attempts that brought hardly anything \(1000 bytes are kept\): HTTP status 503",
    ):
        fetch(url, tmp_path / "a", patience=QUICK)
    fetch(url, tmp_path / "a", sha256=SHA, patience=QUICK)
    assert server.asked[-1] == ("/a.bin", "bytes=1000-")


def test_a_server_that_is_not_there_ends_the_patience(tmp_path):
    with pytest.raises(ConnectionError, match="gave up after 3 attempts"):
        fetch("http://127.0.0.1:1/a", tmp_path / "a", patience=QUICK)


def test_without_a_network_it_is_given_up_sooner_than_with_a_bad_one(tmp_path, monkeypatch):
    asked = []

    def nobody_knows(host, *_, **__):
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody_knows)
    with pytest.raises(NoHost, match=r"gave up after 2 attempts .*Name or service not known"):
        fetch("http://data.example/a", tmp_path / "a", patience=dataclasses.replace(QUICK, nameless_attempts=2))
    assert asked == ["data.example"] * 2


@pytest.mark.parametrize("status", [404, 403, 410])
def test_a_refusal_is_the_users_matter_at_once(tmp_path, server, url, answer, status):
    server.first["/a.bin"] = [answer(status=status)]
    with pytest.raises(BadInput, match=f"a.bin: the server answered HTTP status {status}"):
        fetch(url, tmp_path / "a", patience=QUICK)
    assert len(server.asked) == 1


def test_a_wrong_checksum_names_file_expected_and_found_and_leaves_nothing(tmp_path, url):
    with pytest.raises(BadInput) as error:
        fetch(url, tmp_path / "a", sha256="0" * 64)
    assert f"{url}: wrong checksum: expected sha256 {'0' * 64}, found {SHA}" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_size_is_told_before_the_download(tmp_path, url):
    with pytest.raises(BadInput, match=f"expected 5 bytes, the server offers {len(DATA)}"):
        fetch(url, tmp_path / "a", size_bytes=5)


def test_a_redirect_is_followed(tmp_path, server, url, answer):
    server.first["/moved"] = [answer(status=302, headers={"Location": "/a.bin"})]
    assert fetch(f"{server.url}/moved", tmp_path / "a").sha256 == SHA


@pytest.mark.parametrize("etags", [True, False])
def test_a_file_that_changed_in_between_never_meets_its_old_half(tmp_path, server, url, answer, etags):
    server.etags = etags
    server.first["/a.bin"] = [answer(cut_after=1000)] + [answer(status=503)] * 3
    with pytest.raises(ConnectionError):
        fetch(url, tmp_path / "a", patience=QUICK)
    server.files["/a.bin"] = b"new" * 200  # shorter than what is here
    fetch(url, tmp_path / "a", patience=QUICK)
    assert (tmp_path / "a").read_bytes() == b"new" * 200


def test_half_a_file_without_its_note_is_not_trusted(tmp_path, url):
    (tmp_path / "a.part").write_bytes(b"from somewhere")
    assert fetch(url, tmp_path / "a").sha256 == SHA


def test_a_file_that_had_come_whole_before_the_kill_is_not_asked_for_again(tmp_path, server, url, monkeypatch):
    monkeypatch.setattr("tinyllava_core.data.web.fetch.file_sha256", _killed)
    with pytest.raises(KeyboardInterrupt):
        fetch(url, tmp_path / "a")
    monkeypatch.undo()
    assert fetch(url, tmp_path / "a").sha256 == SHA
    assert len(server.asked) == 1


def _killed(path):
    raise KeyboardInterrupt


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(tmp_path, url, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(urllib.error.URLError, match="Connection refused"):
        urllib.request.build_opener().open(url, timeout=1)  # urlopen would keep this proxy for all tests to come
    assert fetch(url, tmp_path / "a").sha256 == SHA


def test_kill_9_in_the_middle_then_again_fetches_only_the_rest(tmp_path, server, url):
    slow = "import sys, time; from pathlib import Path; from tinyllava_core.data.web.fetch import fetch\n"
    slow += "fetch(sys.argv[1], Path(sys.argv[2]), on_bytes=lambda done, total: time.sleep(0.2))"
    process = subprocess.Popen([sys.executable, "-c", slow, url, str(tmp_path / "a")])
    part, deadline = tmp_path / "a.part", time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 0):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    have = part.stat().st_size
    assert 0 < have < len(DATA)
    assert fetch(url, tmp_path / "a", sha256=SHA) == Fetched(size_bytes=len(DATA), sha256=SHA)
    assert server.asked == [("/a.bin", None), ("/a.bin", f"bytes={have}-")]


# A server below the floor: 20 bytes a second, where 1 kB/s is asked for.
IMPATIENT = dataclasses.replace(QUICK, attempts=2, timeout_s=5.0, slow_window_s=0.3)


@pytest.mark.parametrize("answer_kind", [{"drip_s": 0.05}, {"drip_headers": True}], ids=["body", "headers"])
def test_a_server_that_drips_comes_to_an_end_and_a_better_attempt_goes_on(tmp_path, server, url, answer, answer_kind):
    server.first["/a.bin"] = [answer(**answer_kind)] * 2
    with pytest.raises(ConnectionError, match=r"gave up after 2 attempts .*: timed out: only \d+ bytes in 0\.3 s"):
        fetch(url, tmp_path / "a", patience=IMPATIENT)
    assert fetch(url, tmp_path / "a", sha256=SHA, patience=IMPATIENT).size_bytes == len(DATA)


def test_a_server_that_gives_a_byte_each_time_comes_to_an_end(tmp_path, server, url, answer):
    server.first["/a.bin"] = [answer(cut_after=1)] * 50
    patience = dataclasses.replace(QUICK, first_wait_s=0.05)
    with pytest.raises(ConnectionError, match=r"gave up after 3 attempts that brought hardly anything \([3-9] bytes"):
        fetch(url, tmp_path / "a", patience=patience)


def test_a_server_that_ignores_ranges_starts_anew(tmp_path, server, url, answer):
    server.ranges = False
    server.first["/a.bin"] = [answer(cut_after=1_000_000)]
    fetch(url, tmp_path / "a", sha256=SHA, patience=QUICK)
    assert [asked for _, asked in server.asked] == [None, "bytes=1000000-"]


def test_a_file_of_unknown_length_is_whole_when_the_connection_ends(tmp_path, server, url):
    server.lengths = False
    told = []
    assert fetch(url, tmp_path / "a", on_bytes=lambda *at: told.append(at)).sha256 == SHA
    assert told[-1] == (len(DATA), 0)


def test_a_file_of_unknown_length_that_is_whole_is_known_by_its_416(tmp_path, server, url, monkeypatch):
    server.lengths = False
    monkeypatch.setattr("tinyllava_core.data.web.fetch.file_sha256", _killed)
    with pytest.raises(KeyboardInterrupt):
        fetch(url, tmp_path / "a")
    monkeypatch.undo()
    assert fetch(url, tmp_path / "a").sha256 == SHA
    assert [asked for _, asked in server.asked] == [None, f"bytes={len(DATA)}-"]


def test_a_content_length_that_is_too_long_is_a_body_that_ends_early(tmp_path, server, url, answer):
    server.first["/a.bin"] = [answer(length=len(DATA) + 5)] * 9
    with pytest.raises(BadInput, match=f"expected {len(DATA)} bytes, the server offers {len(DATA) + 5}"):
        fetch(url, tmp_path / "a", size_bytes=len(DATA), patience=QUICK)
    server.ranges = False
    with pytest.raises(ConnectionError, match=f"the body ended at byte {len(DATA)} of {len(DATA) + 5}"):
        fetch(url, tmp_path / "a", patience=QUICK)


def test_a_content_length_that_is_too_short_is_found_by_the_checksum(tmp_path, server, url, answer):
    server.first["/a.bin"] = [answer(length=1000)] * 9
    with pytest.raises(BadInput, match="wrong checksum"):
        fetch(url, tmp_path / "a", sha256=SHA, patience=QUICK)


def test_a_closed_connection_is_a_passing_fault(tmp_path, server, url, answer):
    server.first["/a.bin"] = [answer(close=True)] * 2
    assert fetch(url, tmp_path / "a", patience=QUICK).sha256 == SHA


@pytest.mark.parametrize("size", [len(DATA) - 1, len(DATA)], ids=["size changed", "size kept"])
def test_without_validator_two_halves_that_do_not_fit_are_fetched_once_more_in_one_piece(
    tmp_path, server, url, answer, size
):
    server.etags = False
    server.first["/a.bin"] = [answer(cut_after=1000), *[answer(status=503)] * 2]
    with pytest.raises(ConnectionError):
        fetch(url, tmp_path / "a", patience=QUICK)
    server.files["/a.bin"] = DATA[::-1][:size]
    del server.asked[:]
    fetch(url, tmp_path / "a", sha256=hashlib.sha256(DATA[::-1][:size]).hexdigest(), patience=QUICK)
    assert server.asked == [("/a.bin", "bytes=1000-"), ("/a.bin", None)]


def test_a_chain_of_redirects_is_followed_and_a_circle_is_the_users_matter(tmp_path, server, url, answer):
    def to(place):
        return [answer(status=302, headers={"Location": place})] * 20

    server.first |= {"/1": to("/2"), "/2": to("/3"), "/3": to("/a.bin"), "/left": to("/right"), "/right": to("/left")}
    server.first |= {f"/far{n}": to(f"/far{n + 1}") for n in range(12)}
    server.first |= {"/out": to("file:///etc/hostname")}
    assert fetch(f"{server.url}/1", tmp_path / "a").sha256 == SHA
    for path in ("left", "far0", "out"):
        with pytest.raises(BadInput, match=f"/{path}: redirected in a circle, too often, or to what is no http"):
            fetch(f"{server.url}/{path}", tmp_path / "b", patience=QUICK)
    assert len([path for path, _ in server.asked if path in ("/left", "/right")]) <= 11


def test_a_web_page_instead_of_the_file_is_told_unless_a_web_page_is_wanted(tmp_path, server):
    page = b"\n<!DOCTYPE html><html>Sign in</html>"
    server.files = {"/images.zip": page, "/page.html": page}
    with pytest.raises(BadInput, match=r"images\.zip: the server sent a web page instead of the file"):
        fetch(f"{server.url}/images.zip", tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
    assert fetch(f"{server.url}/page.html", tmp_path / "p").size_bytes == len(page)


@pytest.mark.parametrize("known", [True, False], ids=["by the manifest", "by the server"])
def test_a_disk_that_is_too_small_is_told_before_the_first_byte(tmp_path, server, url, monkeypatch, known):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 65 << 20}))
    with pytest.raises(BadInput, match=r"a\.bin: needs 3\.0 MB more on the disk of .*, where 68\.2 MB are free"):
        fetch(url, tmp_path / "a", size_bytes=len(DATA) if known else None, patience=QUICK)
    assert len(server.asked) == (0 if known else 1)
    assert list(tmp_path.iterdir()) == []


def test_at_most_so_many_connections_of_several_threads_are_open_at_once(tmp_path, server, answer):
    server.files = {f"/{number}": b"x" for number in range(12)}
    server.first = {path: [answer(wait_s=0.1)] for path in server.files}
    patience = dataclasses.replace(QUICK, connections_per_host=3)
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda path: fetch(f"{server.url}{path}", tmp_path / path[1:], patience=patience), server.files))
    assert server.most_at_once == 3


def test_a_file_in_a_store_comes_and_is_checked_like_any_other(tmp_path, bucket):
    remote.write_bytes(f"{bucket}/fetch/a.bin", DATA)
    path, told = f"{bucket}/fetch/a.bin", []
    found = fetch(path, tmp_path / "a", sha256=SHA, size_bytes=len(DATA), on_bytes=lambda *at: told.append(at))
    assert found == Fetched(size_bytes=len(DATA), sha256=SHA)
    assert told == [(len(DATA), len(DATA))]
    with pytest.raises(BadInput, match=f"wrong checksum: expected sha256 {'0' * 64}, found {SHA}"):
        fetch(path, tmp_path / "b", sha256="0" * 64)
    with pytest.raises(BadInput, match=f"expected 5 bytes, the store has {len(DATA)}"):
        fetch(path, tmp_path / "b", size_bytes=5)
    with pytest.raises(BadInput, match=r"none\.bin: no such file in the store"):
        fetch(f"{bucket}/fetch/none.bin", tmp_path / "b")
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/b.zip", "b.zip"),
        ("a%20b.zip?x=1", "a b.zip"),
        ("a/", "file"),
        ("a/%2e%2e", "file"),
        ("..%2f..%2fb", "b"),
        ("a%00b", "file"),
        ("a%5cb", "file"),
        ("x" * 300 + ".zip", "x" * 56 + ".zip"),
    ],
)
def test_a_file_is_named_by_its_url_as_a_folder_can_hold_it(path, name):
    assert file_name(f"https://host/{path}") == name


@pytest.mark.parametrize(
    ("paths", "places"),
    [
        (["x/a.json", "x/b.json", "y/c.json"], ["a.json", "b.json", "c.json"]),
        (["train/a.json", "val/a.json", "b.json"], ["train/a.json", "val/a.json", "b.json"]),
        (["a.json?part=1", "a.json?part=2"], ["1/a.json", "2/a.json"]),
        (["b.json", ".x/a.json", "y/a.json"], ["b.json", "2/a.json", "3/a.json"]),  # what is hidden is read by nobody
        (["A" + "n" * 70, "B" + "n" * 70], ["1/" + "n" * 60, "2/" + "n" * 60]),
    ],
)
def test_files_of_several_urls_each_have_a_place_of_their_own(paths, places):
    urls = [f"https://host/{path}" for path in paths]
    assert file_places(urls) == dict(zip(urls, places, strict=True))
