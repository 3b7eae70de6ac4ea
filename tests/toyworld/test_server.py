"""The toy world's server: whole files, parts of files, and what it refuses."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tinyllava_core.toyworld import server


@pytest.fixture
def base_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    def build_small(root: Path) -> None:
        root.mkdir()
        (root / "ten.txt").write_bytes(b"0123456789")

    monkeypatch.setattr(server, "build", build_small)
    with server.serving(tmp_path) as url:
        yield url


def _get(url: str, byte_range: str | None = None) -> tuple[int, bytes, str | None]:
    request = urllib.request.Request(url, headers={"Range": byte_range} if byte_range else {})
    with urllib.request.urlopen(request, timeout=5) as answer:
        return answer.status, answer.read(), answer.headers["Content-Range"]


def test_a_file_comes_whole(base_url: str) -> None:
    assert _get(f"{base_url}/ten.txt") == (200, b"0123456789", None)


@pytest.mark.parametrize(
    ("asked", "body", "content_range"),
    [
        ("bytes=4-", b"456789", "bytes 4-9/10"),
        ("bytes=2-4", b"234", "bytes 2-4/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=8-99", b"89", "bytes 8-9/10"),
    ],
)
def test_a_byte_range_comes_as_asked(base_url: str, asked: str, body: bytes, content_range: str) -> None:
    assert _get(f"{base_url}/ten.txt", asked) == (206, body, content_range)


def test_a_range_behind_the_end_is_refused(base_url: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        _get(f"{base_url}/ten.txt", "bytes=10-")
    assert refused.value.code == 416
    assert refused.value.headers["Content-Range"] == "bytes */10"


@pytest.mark.parametrize("path", ["absent.txt", "", "../ten.txt"])
def test_nothing_else_is_served(base_url: str, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        _get(f"{base_url}/{path}" if path != "../ten.txt" else f"{base_url}/%2e%2e/absent")
    assert refused.value.code == 404


def test_the_world_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Path] = []

    def build_small(root: Path) -> None:
        calls.append(root)
        root.mkdir()

    monkeypatch.setattr(server, "build", build_small)
    assert server.built(tmp_path) == server.built(tmp_path)
    assert len(calls) == 1
