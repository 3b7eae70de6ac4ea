import re
import socket
import ssl
import sys
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpcore
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tinyllava_core.data.web import address as module
from tinyllava_core.data.web import opener
from tinyllava_core.data.web.address import Refused, addresses, asked_by, is_public
from tinyllava_core.data.web.opener import Floor, open_url
from tinyllava_core.errors import BadInput

FLOOR = Floor(silence_s=1.0, slowest_bytes_s=1.0, window_s=1.0)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:4700::6810:84e5", True),
        ("127.0.0.1", False),
        ("127.8.9.10", False),
        ("0.0.0.0", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),  # what clouds tell their machines
        ("100.64.0.1", False),  # behind a provider's translation
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("ff02::1", False),
        # an IPv4 address inside an IPv6 one
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("2002:7f00:1::", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("64:ff9b::5db8:d822", True),
        ("::127.0.0.1", False),
    ],
)
def test_a_public_address_is_one_of_the_internet(address, public):
    assert is_public(address) is public


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "0", "::1"])
def test_this_machine_is_refused_however_it_is_written(host):
    with pytest.raises(
        Refused, match=r"which is not a public address .*; if it is meant, name it in the manifest's allow_hosts"
    ):
        addresses(host, 80)
    assert addresses(host, 80, {host})
    assert addresses(host, 80, {f"{host}:80"})
    with pytest.raises(Refused):
        addresses(host, 81, {f"{host}:80"})


@pytest.mark.parametrize("host", ["...", "a" * 300, "a..b"])
def test_a_name_that_no_host_can_have_is_one_that_is_not_there(host):
    with pytest.raises(socket.gaierror, match="is no name of a host"):
        addresses(host, 80)


def test_a_person_who_writes_an_address_asks_for_it_and_for_no_other_port():
    assert asked_by("http://127.0.0.1:8000/a") == {"127.0.0.1:8000"}
    assert asked_by("https://localhost/a") == {"localhost:443"}
    assert asked_by("http://[::1]:80/a") == {"::1:80"}
    assert asked_by("https://data.example.org/a") == frozenset(), "a name may lead anywhere"


def test_a_host_is_looked_up_once_and_connected_to_at_the_address_that_was_judged(monkeypatch):
    """A name that is public when it is judged and this machine's when it is connected to."""
    asked, connected = [], []

    def look_up(host, port, **options):
        asked.append(host)
        address = "93.184.216.34" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    def connect(self, host, port, *options):
        connected.append(host)
        raise httpcore.ConnectError("nobody is really asked")

    monkeypatch.setattr(module.socket, "getaddrinfo", look_up)
    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect)
    with pytest.raises(Exception, match="nobody is really asked"), open_url("http://evil.example/a", FLOOR):
        pass
    assert (asked, connected) == (["evil.example"], ["93.184.216.34"])


def test_of_a_host_with_several_addresses_only_the_public_are_tried_in_their_order(monkeypatch):
    found = ["10.0.0.1", "93.184.216.34", "169.254.169.254", "93.184.216.35"]
    connected = []

    def connect(self, host, port, *options):
        connected.append(host)
        raise httpcore.ConnectError("no")

    monkeypatch.setattr(module.socket, "getaddrinfo", lambda *a, **o: [(0, 0, 0, "", (ip, 80)) for ip in found])
    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect)
    with pytest.raises(Exception, match="no"), open_url("http://many.example/a", FLOOR):
        pass
    assert connected == ["93.184.216.34", "93.184.216.35"]


def test_a_proxy_of_the_environment_is_used_and_given_no_private_address(server, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    server.files["http://far.example/a"] = b"through it"
    with open_url("http://far.example/a", FLOOR) as answer:
        assert answer.read() == b"through it"
    with pytest.raises(Refused), open_url("http://169.254.169.254/latest", FLOOR):
        pass
    assert [path for path, _ in server.asked] == ["http://far.example/a"]


def certified(name, folder):
    """Make a certificate for one host name, signed by itself; give its file and its key's."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "cert.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(private)
    return folder / "cert.pem", folder / "key.pem"


def test_a_certificate_is_held_against_the_name_though_an_address_is_connected_to(tmp_path, monkeypatch):
    cert, key = certified("right.example", tmp_path)
    told = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    told.load_cert_chain(cert, key)
    server = HTTPServer(
        ("127.0.0.1", 0), type("Handler", (BaseHTTPRequestHandler,), {"do_GET": lambda one: one.send_error(418)})
    )
    server.socket = told.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *args: None
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    port = server.server_address[1]
    monkeypatch.setattr(
        module.socket, "getaddrinfo", lambda *a, **o: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
    )
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(cert))
    opener._trusted.cache_clear()
    try:
        with open_url(f"https://right.example:{port}/", FLOOR, asked={"right.example"}) as answer:
            assert answer.status_code == 418
        with pytest.raises(Exception, match=r"CERTIFICATE_VERIFY_FAILED.*wrong\.example") as refused:
            opener.open_url(f"https://wrong.example:{port}/", FLOOR, asked={"wrong.example"}).__enter__()
        said = opener.no_answer(refused.value, 5.0)  # what a judge's or a catalogue's is told as
        assert re.fullmatch(
            r"gives no answer \(.*CERTIFICATE_VERIFY.*; SSL_CERT_FILE names an authority of your own\)", said
        )
        monkeypatch.setenv("CURL_CA_BUNDLE", str(tmp_path / "none.pem"))
        opener._trusted.cache_clear()
        with pytest.raises(BadInput, match=r"CURL_CA_BUNDLE=.*none\.pem: no such file"):
            opener.open_url(f"https://right.example:{port}/", FLOOR, asked={"right.example"}).__enter__()
    finally:
        opener._trusted.cache_clear()
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("name", "value", "proxy"),
    [
        ("https_proxy", "http://proxy.example:3128", "http://proxy.example:3128"),
        ("ALL_PROXY", "http://proxy.example:3128", "http://proxy.example:3128"),
        ("https_proxy", "proxy.example:3128", "http://proxy.example:3128"),
        ("http_proxy", "http://proxy.example:3128", None),
    ],
)
def test_the_environment_s_proxy_is_that_of_the_scheme_or_of_all(monkeypatch, name, value, proxy):
    for one in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(one, raising=False)
        monkeypatch.delenv(one.upper(), raising=False)
    monkeypatch.setenv(name, value)
    assert opener.proxy_of("https://right.example/") == proxy


@pytest.mark.parametrize("proxy", ["socks5://me:secret@proxy.example:1080", "gopher://proxy.example"])
def test_a_proxy_that_cannot_be_spoken_to_is_one_line(monkeypatch, proxy):
    monkeypatch.setenv("https_proxy", proxy)
    monkeypatch.setitem(sys.modules, "socksio", None)
    with pytest.raises(BadInput, match=r"the environment's proxy .*: expected one that speaks http") as refused:
        opener.open_url("https://right.example/", FLOOR, asked={"right.example"}).__enter__()
    assert "secret" not in str(refused.value)
