"""Servers that mean harm: without end, to another address, in bytes that are no number, after passwords."""

import base64
import contextlib
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from loopback import Quiet, answering

from tinyllava_core.data.web import attempt, polite
from tinyllava_core.data.web.fetch import fetch
from tinyllava_core.data.web.patience import Patience, retry_after_s
from tinyllava_core.data.web.polite import turn
from tinyllava_core.errors import BadInput

QUICK = Patience(attempts=2, first_wait_s=0.01, longest_wait_s=0.05, timeout_s=2.0)
DATA = os.urandom(500_000)


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        (100_000, "expected 100000 bytes, the server sends more; correct `bytes`"),
        (None, "the server does not say how big it is, and sends more than 200000 bytes; state its `bytes`"),
    ],
)
def test_a_body_without_a_length_has_an_end_all_the_same(tmp_path, server, monkeypatch, stated, said):
    monkeypatch.setattr(attempt, "UNSTATED_BYTES", 200_000)
    server.files, server.lengths, told = {"/a": DATA}, False, []
    with pytest.raises(BadInput, match=said):
        fetch(
            f"{server.url}/a", tmp_path / "a", size_bytes=stated, on_bytes=lambda *at: told.append(at), patience=QUICK
        )
    assert max(done for done, _ in told) <= (stated or 200_000)
    assert list(tmp_path.iterdir()) == []


def test_a_redirect_does_not_lead_to_another_port_of_this_machine(tmp_path, server, answer):
    server.first["/a"] = [answer(status=302, headers={"Location": "http://127.0.0.1:1/secret"})] * 3
    with pytest.raises(BadInput, match=r"/a: leads to 127\.0\.0\.1:1, which is not a public address"):
        fetch(f"{server.url}/a", tmp_path / "a", patience=QUICK)
    assert len(server.asked) == 1, "no further attempt"
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConnectionError, match="Connection refused"):  # asked for, it is tried
        fetch(f"{server.url}/a", tmp_path / "a", patience=QUICK, allow_hosts=["127.0.0.1"])


def test_the_body_of_a_redirect_is_not_read_however_much_comes(tmp_path):
    sent = []

    class Flood(Quiet):
        def do_GET(self):
            self.send_response(302 if self.path == "/a" else 404)
            self.send_header("Location", "/b")
            self.end_headers()
            with contextlib.suppress(OSError):
                while self.path == "/a" and sum(sent) < 64 << 20:
                    sent.append(self.wfile.write(bytes(1 << 16)))

    with answering(Flood) as url, pytest.raises(BadInput, match="/a: the server answered HTTP status 404"):
        fetch(f"{url}/a", tmp_path / "a", patience=QUICK)
    assert sum(sent) < 32 << 20, "what the sockets hold, and no more"


def test_a_header_whose_digit_is_none_is_no_crash(tmp_path, server, answer):
    server.files["/a"] = DATA
    server.first["/a"] = [answer(status=503, headers={"Retry-After": "\xb2"}), answer(headers={"X-Odd": "\xb2"})]
    assert fetch(f"{server.url}/a", tmp_path / "a", patience=QUICK).size_bytes == len(DATA)
    server.first["/a"] = [answer(headers={"X-\xb2": "1"})] * 2  # no name of a header
    with pytest.raises(ConnectionError, match=r"gave up after 2 attempts .*: illegal header line"):
        fetch(f"{server.url}/a", tmp_path / "b", patience=QUICK)
    assert retry_after_s("\xb2") == 0.0
    for text, number in (("12", 12), ("\xb2", None), ("9" * 5000, None), ("-1", None), ("", None)):
        assert attempt._number(text) == number


def test_an_etag_that_is_no_ascii_is_not_sent_back(tmp_path, server):
    server.files["/a"] = DATA
    (tmp_path / "a.part").write_bytes(DATA[:1000])
    (tmp_path / "a.part.json").write_text(json.dumps({"validator": "\xb2", "size_bytes": len(DATA)}))
    fetch(f"{server.url}/a", tmp_path / "a", patience=QUICK)
    assert (tmp_path / "a").read_bytes() == DATA


def test_an_error_says_a_signed_url_without_its_signature(tmp_path, server):
    with pytest.raises(BadInput) as error:
        fetch(f"{server.url}/a.bin?id=7&sig=5ec2e7", tmp_path / "a", patience=QUICK)
    assert str(error.value).startswith(f"{server.url}/a.bin?id=7: the server answered HTTP status 404")


def test_the_folder_of_turns_is_not_used_if_somebody_else_may_write_there(tmp_path, monkeypatch):
    monkeypatch.setattr(polite.tempfile, "tempdir", str(tmp_path))
    home, victim = tmp_path / f"tinyllava-hosts-{os.getuid()}", tmp_path / "victim"
    victim.mkdir()
    home.symlink_to(victim)
    with (
        pytest.raises(BadInput, match=r"tinyllava-hosts-\d+: is a link, or others may write there"),
        turn("http://h/", connections=1, pause_s=0),
    ):
        pass
    assert list(victim.iterdir()) == []
    home.unlink()
    home.mkdir()
    home.chmod(0o777)
    with pytest.raises(BadInput, match="others may write there"), turn("http://h/", connections=1, pause_s=0):
        pass
    home.chmod(0o700)
    with turn("http://me:5ec2e7@h/", connections=1, pause_s=0):
        assert [folder.name for folder in home.iterdir()] == ["h%3Ahttp"]


class _Gate(BaseHTTPRequestHandler):
    seen: list

    def do_GET(self):
        self.seen.append((self.headers.get("Host").partition(":")[0], self.path, self.headers.get("Authorization")))
        port = self.server.server_address[1]
        self.send_response(302 if self.path == "/away" else 200)
        if self.path == "/away":
            self.send_header("Location", f"http://127.0.0.1:{port}/there")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


def test_a_password_of_netrc_goes_to_its_host_and_to_none_that_it_redirects_to(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    (tmp_path / ".netrc").write_text("machine localhost login me password 5ec2e7\n")
    (tmp_path / ".netrc").chmod(0o600)
    seen = []
    server = HTTPServer(("127.0.0.1", 0), type("Handler", (_Gate,), {"seen": seen}))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        url = f"http://localhost:{server.server_address[1]}"
        fetch(f"{url}/away", tmp_path / "a", patience=QUICK, allow_hosts=["127.0.0.1"])
    finally:
        server.shutdown()
        server.server_close()
    password = "Basic " + base64.b64encode(b"me:5ec2e7").decode()
    assert seen == [("localhost", "/away", password), ("127.0.0.1", "/there", None)]
    (tmp_path / ".netrc").write_text("machine localhost login me passwordd 5ec2e7\n")
    with pytest.raises(BadInput, match=r"~/\.netrc cannot be used") as error:
        fetch("http://localhost:1/a", tmp_path / "b", patience=QUICK)
    assert "5ec2e7" not in str(error.value)
