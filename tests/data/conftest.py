"""A loopback server that misbehaves as told, and real photographs: those that come inside scikit-image's wheel."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from loopback import Quiet, answering
from PIL import Image

from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.data.inspect.inspect import inspect_source
from tinyllava_core.data.mix.mix import mix
from tinyllava_core.data.record.record import InspectedSource
from tinyllava_core.results import DownloadResult
from tinyllava_core.settings.mix import MixEntry


@dataclass
class Answer:
    """One answer out of the ordinary."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None  # bytes of the body, then the connection is closed
    wait_s: float = 0.0  # before anything is sent
    body: bytes | None = None
    drip_s: float = 0.0  # between two bytes of the body
    drip_headers: bool = False  # an endless header instead, a byte every 50 ms
    length: int | None = None  # a Content-Length that is not true
    close: bool = False  # the connection is closed without a word


class Server:
    """Files by path; for each path a list of answers to give before the ordinary ones."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.first: dict[str, list[Answer]] = {}
        self.etags = True
        self.ranges = True  # False: a Range header is ignored
        self.lengths = True  # False: no Content-Length, the end of the connection is the end of the file
        self.at_once = self.most_at_once = 0  # connections that were being answered
        self.asked: list[tuple[str, str | None]] = []  # (path, Range header)
        self.url = ""
        self.lock = threading.Lock()


class _Handler(Quiet):
    world: Server

    def do_GET(self) -> None:
        world = self.world
        with world.lock:
            world.at_once += 1
            world.most_at_once = max(world.most_at_once, world.at_once)
        try:
            self._answer(world, self.headers.get("Range"))
        finally:
            with world.lock:
                world.at_once -= 1

    def _answer(self, world: Server, wanted: str | None) -> None:
        world.asked.append((self.path, wanted))
        answer = world.first[self.path].pop(0) if world.first.get(self.path) else Answer()
        time.sleep(answer.wait_s)
        if answer.close:
            self.close_connection = True
            return
        if answer.drip_headers:
            self._drip(b"HTTP/1.1 200 OK\r\nX-Endless: " + b"x" * 60_000, 0.05)
            return
        data = answer.body if answer.body is not None else world.files.get(self.path)
        if data is None and answer.status == 200:
            answer = Answer(status=404)
        if answer.status != 200:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        assert data is not None
        tag, start = f'"{hash(data)}"', 0
        if wanted and world.ranges and self.headers.get("If-Range", tag) == tag:
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            if start >= len(data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(data)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        if world.etags:
            self.send_header("ETag", tag)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if world.lengths:
            self.send_header("Content-Length", str(answer.length or len(data) - start))
        else:
            self.close_connection = True
        self.end_headers()
        if answer.drip_s:
            self._drip(data[start:], answer.drip_s)
            return
        stop = len(data) if answer.cut_after is None else min(len(data), start + answer.cut_after)
        self.wfile.write(data[start:stop])
        if stop < len(data) or answer.length:
            self.close_connection = True

    def _drip(self, data: bytes, pause_s: float) -> None:
        for at in range(len(data)):
            self.wfile.write(data[at : at + 1])
            self.wfile.flush()
            time.sleep(pause_s)


@pytest.fixture
def server() -> Iterator[Server]:
    world = Server()
    with answering(_Handler, world=world) as world.url:
        yield world


@pytest.fixture
def answer() -> type[Answer]:
    return Answer


def _encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.fixture
def encoded() -> Callable[..., bytes]:
    """Give an image's bytes in a format."""
    return _encoded


@pytest.fixture(scope="session")
def photos() -> dict[str, bytes]:
    """Real photographs as JPEG and PNG; 512x512, 600x400 and 451x300, 512x512 in grey."""
    import skimage.data

    def picture(name: str) -> Image.Image:
        return Image.fromarray(getattr(skimage.data, name)())

    return {
        "people/astronaut.jpg": _encoded(picture("astronaut"), "JPEG", quality=90),
        "coffee.png": _encoded(picture("coffee"), "PNG"),
        "cats/chelsea.jpg": _encoded(picture("chelsea"), "JPEG", quality=85),
        "camera.png": _encoded(picture("camera"), "PNG"),
    }


def llava(image: str | list[str] | None = None, *turns: str, id: Any = "x") -> dict[str, Any]:
    """Make one record of LLaVA's shape; turns from human and gpt in alternation."""
    roles = ("human", "gpt")
    conversations = [{"from": roles[number % 2], "value": text} for number, text in enumerate(turns)]
    return {"id": id} | ({} if image is None else {"image": image}) | {"conversations": conversations}


@pytest.fixture(name="llava")
def _llava() -> Callable[..., dict[str, Any]]:
    return llava


@pytest.fixture
def downloaded(tmp_path: Path) -> Callable[..., tuple[Path, DownloadResult]]:
    """Lay a source out as stage `download` leaves it."""

    def make(name: str, records: Any, images: dict[str, bytes], suffix: str = ".json") -> tuple[Path, DownloadResult]:
        folder = tmp_path / f"download-{name}"
        (folder / "images").mkdir(parents=True)
        text = records if isinstance(records, str) else json.dumps(records)
        (folder / f"annotations{suffix}").write_text(text)
        for path, data in images.items():
            (folder / "images" / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / "images" / path).write_bytes(data)
        result = DownloadResult(
            source=name,
            kind="source",
            licence=None,
            urls="",
            annotations=f"annotations{suffix}",
            annotations_sha256="",
            image_root="images",
            num_files=len(images),
            num_expected=None,
            size_bytes=0,
            num_requested=0,
            num_failed=0,
        )
        return folder, result

    return make


@pytest.fixture
def world(
    tmp_path: Path, downloaded: Callable[..., tuple[Path, DownloadResult]], photos: dict[str, bytes]
) -> tuple[Path, list[InspectedSource]]:
    """Two inspected sources of real photographs (one picture, two pictures, none) and their mix of 14 records."""
    records = [llava(path, "<image>\nWhat is it?", f"It is {path}.", id=path) for path in photos]
    records += [llava(["coffee.png", "people/astronaut.jpg"], "<image> <image>", "Coffee in space: é ❤")]
    sources = []
    for name, items in (("photos", records), ("text", [llava(None, "Say 1.", "1."), llava(None, "Say 2.", "2.")])):
        folder, result = downloaded(name, items, photos)
        inspected = tmp_path / f"inspect-{name}"
        inspected.mkdir()
        inspect_source(folder, result, "llava", 0.0, inspected)
        sources.append(InspectedSource(name=name, records=inspected, images=ImagePlaces.one(folder / "images")))
    mixed = tmp_path / "mix"
    mixed.mkdir()
    mix([(MixEntry(source=source.name, share=2), source) for source in sources], 3, mixed)
    return mixed, sources
