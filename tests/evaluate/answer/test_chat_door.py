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
