"""Whom the chat page answers, and how much of it: its own pages, by its own names, within bounds."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tinyllava_core.data.web.door import LOOPBACK
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.answer import chat as module
from tinyllava_core.evaluate.answer.answer import Answerer
from tinyllava_core.evaluate.answer.chat import guarded, make_app


@pytest.fixture(scope="module")
def answerer(checkpoint_folder: Path) -> Answerer:
    return Answerer(checkpoint_folder)


@pytest.fixture
def here(answerer: Answerer) -> TestClient:
    return TestClient(guarded(make_app(answerer, 4), LOOPBACK, None), base_url="http://127.0.0.1:7860")


def question(**more: object) -> dict[str, object]:
    return {"lines": [{"role": "user", "text": "what?"} | more]}


def test_a_page_of_another_site_cannot_ask(here: TestClient) -> None:
    for origin in ("https://evil.example", "null", "http://127.0.0.1:80"):
        for content_type in ("application/json", "text/plain"):
            headers = {"Origin": origin, "Content-Type": content_type}
            got = here.post("/reply", content=json.dumps(question()), headers=headers)
            assert got.status_code == 403
    assert here.post("/reply", json=question(), headers={"Origin": "http://127.0.0.1:7860"}).status_code == 200


def test_a_name_that_was_made_to_point_here_is_refused(here: TestClient) -> None:
    assert here.get("/about", headers={"Host": "evil.example:7860"}).status_code == 403
    assert here.get("/about", headers={"Host": "localhost:7860"}).status_code == 200


def test_open_to_others_it_wants_the_key_of_its_address(answerer: Answerer) -> None:
    there = TestClient(guarded(make_app(answerer, 4), LOOPBACK, "opensesame"), base_url="http://gpu-7.lab:7860")
    for place in ("/", "/about", "/about?key=", "/about?key=opensesam"):
        got = there.get(place)
        assert got.status_code == 401
        assert "?key=" in got.json()["error"]
    assert there.post("/reply", json=question()).status_code == 401
    assert there.get("/about?key=opensesame").status_code == 200
    assert there.post("/reply?key=opensesame", json=question()).status_code == 200
    other = {"Origin": "https://evil.example"}
    assert there.get("/about?key=opensesame", headers=other).status_code == 403


def test_a_body_that_is_too_large_is_refused_by_its_own_words_and_by_its_bytes(
    here: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BODY_BYTES", 1000)
    for body in (b"x" * 1001, iter([b"x" * 600, b"x" * 600])):
        got = here.post("/reply", content=body)
        assert (got.status_code, got.json()["error"]) == (
            400,
            "the request is larger than 1,000 bytes; use smaller pictures",
        )


def test_json_without_end_is_one_line(here: TestClient) -> None:
    got = here.post("/reply", content="[" * 200_000 + "]" * 200_000)
    assert (got.status_code, got.json()) == (400, {"error": "the request is nested too deeply"})


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('{"lines": [{"role": "user", "text": "a\\ud800"}]}', "a text holds half of a surrogate pair"),
        ('{"lines": [{"role": "user", "text": "a", "images": ["data:image/png;base64,é"]}]}', "its base64 is broken"),
        ('{"lines": [{"role": "user", "text": "a", "images": ["data:x;base64,\\ud800"]}]}', "its base64 is broken"),
    ],
)
def test_what_no_tokenizer_and_no_base64_takes_is_one_line(here: TestClient, body: str, fault: str) -> None:
    got = here.post("/reply", content=body.encode())
    assert got.status_code == 400
    assert fault in got.json()["error"]


def test_a_body_that_does_not_end_holds_no_place(answerer: Answerer, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as are held in memory, and nobody else was answered until they hung up."""
    monkeypatch.setattr(module, "BODY_WITHIN_S", 0.05)
    app = make_app(answerer, 4)
    scope = {"type": "http", "method": "POST", "path": "/reply", "headers": [], "query_string": b""}

    async def ask(*pieces: bytes) -> int:
        said, left = [], [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]

        async def receive() -> dict:
            return left.pop(0) if left else await asyncio.sleep(60)

        async def send(message: dict) -> None:
            said.append(message)

        await app(scope, receive, send)
        return said[0]["status"]

    async def all_of_them() -> list[int]:
        return await asyncio.gather(*(ask(b"{") for _ in range(module.MOST_AT_ONCE))) + [await ask(b"{")]

    assert asyncio.run(all_of_them()) == [408] * (module.MOST_AT_ONCE + 1)


def test_a_picture_is_decoded_beside_the_event_loop_and_others_are_answered_meanwhile(
    answerer: Answerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a picture takes its time, `/about` answers; when all places are taken, others are told to come again."""
    import threading

    import httpx

    let_go = threading.Event()

    def slow(image: bytes, name: str) -> object:
        assert let_go.wait(30)
        raise BadInput(f"{name}: enough")

    monkeypatch.setattr(answerer, "decode", slow)
    monkeypatch.setattr(module, "MOST_AT_ONCE", 1)
    app = make_app(answerer, 4)
    picture = "data:image/png;base64," + base64.b64encode(b"x").decode()

    async def talk() -> tuple[int, int, str]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            first = asyncio.create_task(client.post("/reply", json=question(images=[picture])))
            await asyncio.sleep(0.3)
            about = await client.get("/about")
            second = await client.post("/reply", json=question(images=[picture]))
            let_go.set()
            return about.status_code, second.status_code, (await first).json()["error"]

    assert asyncio.run(talk()) == (200, 503, "picture 1: enough")


def test_pictures_are_counted_before_one_is_decoded_and_their_time_has_an_end(
    here: TestClient, answerer: Answerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four hundred kilobytes of large pictures held the one decoder for many seconds, 32 MB of them for half an hour."""
    picture, decoded = "data:image/png;base64," + base64.b64encode(b"x").decode(), []

    def decode(image: bytes, name: str) -> object:
        decoded.append(name)
        clock[0] += 15.0
        return None

    clock = [0.0]
    monkeypatch.setattr(answerer, "decoded", decode)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    with pytest.raises(BadInput, match="65 pictures; a conversation may have 64: start a new one"):
        module.read(answerer, json.dumps(question(images=[picture] * 65)).encode(), 4)
    assert decoded == []
    with pytest.raises(BadInput, match="picture 3: those before it took longer than 20 s to read"):
        module.read(answerer, json.dumps(question(images=[picture] * 4)).encode(), 4)
    assert decoded == ["picture 1", "picture 2"]
