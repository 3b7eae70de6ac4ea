import hashlib
import os
import signal
import subprocess
import sys
import time

import pytest
import requests

from tinyllava_core.data.fetch import Fetched, Patience, fetch
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
        ConnectionError, match=r"gave up after 3 attempts without a new byte \(1000 bytes are kept\): HTTP status 503"
    ):
        fetch(url, tmp_path / "a", patience=QUICK)
    fetch(url, tmp_path / "a", sha256=SHA, patience=QUICK)
    assert server.asked[-1] == ("/a.bin", "bytes=1000-")


def test_a_server_that_is_not_there_ends_the_patience(tmp_path):
    with pytest.raises(ConnectionError, match="gave up after 3 attempts"):
        fetch("http://127.0.0.1:1/a", tmp_path / "a", patience=QUICK)


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
    monkeypatch.setattr("tinyllava_core.data.fetch.file_sha256", _killed)
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
    with pytest.raises(requests.exceptions.ProxyError):
        requests.get(url, timeout=1)
    assert fetch(url, tmp_path / "a").sha256 == SHA


def test_kill_9_in_the_middle_then_again_fetches_only_the_rest(tmp_path, server, url):
    slow = "import sys, time; from pathlib import Path; from tinyllava_core.data.fetch import fetch\n"
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
