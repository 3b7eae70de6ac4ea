"""The chat page: what it answers, what it refuses, and the page itself in a real browser."""

from __future__ import annotations

import base64
import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from waiting import wait_until

from tinyllava_core.data.record.record import Turn
from tinyllava_core.evaluate.answer.answer import ANY_SIZE, Answerer, Asked
from tinyllava_core.evaluate.answer.chat import main, make_app
from tinyllava_core.job import ChatJob

MAX_NEW_TOKENS = 8
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def answerer(checkpoint_folder: Path) -> Answerer:
    return Answerer(checkpoint_folder)


@pytest.fixture(scope="module")
def client(answerer: Answerer) -> TestClient:
    return TestClient(make_app(answerer, MAX_NEW_TOKENS))


def url(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def said(client: TestClient, *lines: dict[str, Any]) -> list[dict[str, Any]]:
    got = client.post("/reply", json={"lines": list(lines)})
    assert got.status_code == 200, got.text
    return [json.loads(line) for line in got.text.splitlines()]


def test_the_answer_comes_in_pieces_and_is_the_one_the_model_gives(
    client: TestClient, answerer: Answerer, images: Path
) -> None:
    """A conversation: two pictures first, then a question about what was said."""
    first = {"role": "user", "text": "the same?", "images": [url(images / "0.png"), url(images / "1.png")]}
    lines = [first, {"role": "assistant", "text": "no"}, {"role": "user", "text": "what is written?"}]
    *pieces, end = said(client, *lines)
    turns = [
        Turn(role="user", text="<image><image>the same?"),
        Turn(role="assistant", text="no"),
        Turn(role="user", text="what is written?"),
    ]
    pictures = tuple(answerer.picture(images / name) for name in ("0.png", "1.png"))
    asked = Asked(ids=answerer.conversation_ids(turns, [one.size for one in pictures]), pictures=pictures)
    assert "".join(piece["text"] for piece in pieces) == answerer.answer([asked], MAX_NEW_TOKENS)[0]
    assert 1 <= end["tokens"] <= MAX_NEW_TOKENS
    assert end["seconds"] >= 0


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ([], "the sides must take turns"),
        ([{"role": "user", "text": "a"}, {"role": "user", "text": "b"}], "the sides must take turns"),
        ([{"role": "user", "text": " "}], "the question is empty"),
        ([{"role": "user", "text": "<image> what?"}], "stands for a picture"),
        ([{"role": "user", "text": "what?", "images": ["data:image/png;base64,AAAA"]}], "cannot be read as a picture"),
        ([{"role": "user", "text": "what?", "images": ["data:image/png;base64,A"]}], "its base64 is broken"),
        ([{"role": "user", "text": "what?", "images": ["https://a/b.png"]}], "expected a data URL"),
        ([{"role": "user", "text": "what? " * 3000}], "the conversation is too long"),
        ([{"role": "system", "text": "what?"}], "the request: lines.0.role"),
    ],
)
def test_what_cannot_be_answered_is_said(client: TestClient, lines: list[dict[str, Any]], fault: str) -> None:
    got = client.post("/reply", json={"lines": lines})
    assert got.status_code == 400
    assert fault in got.json()["error"]


def test_the_model_is_introduced(client: TestClient, answerer: Answerer) -> None:
    told = client.get("/about").json()
    assert (told["language"], told["connector"], told["picture"]) == ("test-llama", "mlp", "24 px, square")
    assert told["parameters"] == sum(p.numel() for p in answerer.loaded.model.parameters())


def test_the_page_needs_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/").text
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)
    assert "//" not in page.replace("http://www.w3.org/2000/svg", "")


def test_a_port_that_is_taken_is_one_line_before_the_model_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main([ChatJob(checkpoint=Path("nowhere"), port=port).model_dump_json()]) == 2
    assert f"error: cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err
    assert main([ChatJob(checkpoint=Path("nowhere"), port=0).model_dump_json()]) == 2
    assert "nowhere: no checkpoint there" in capsys.readouterr().err


@pytest.fixture(scope="module")
def address(checkpoint_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page of a server of its own, as a person starts it."""
    log = tmp_path_factory.mktemp("chat") / "log.txt"
    words = ["chat", str(checkpoint_folder), "--port", "0", "--max-new-tokens", str(MAX_NEW_TOKENS), "--device", "cpu"]
    with log.open("w") as out:
        server = subprocess.Popen([sys.executable, "-m", "tinyllava_core.cli", *words], stdout=out, stderr=out)
    try:
        wait_until(lambda: "http://" in log.read_text() or server.poll() is not None, seconds=120)
        found = re.search(r"http://\S+", log.read_text())
        assert found, log.read_text()
        yield found[0]
    finally:
        server.terminate()
        server.wait(20)


@pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium")
def test_a_person_adds_a_picture_asks_and_begins_anew(address: str, answerer: Answerer, images: Path) -> None:
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(address)
        expect(page.locator("#about")).to_contain_text("test-llama")
        page.set_input_files("#file", str(images / "3.png"))
        expect(page.locator("#added img")).to_have_count(1)
        page.get_by_label("Your question").fill("is there a red square?")
        page.keyboard.press("Enter")
        expect(page.locator(".told")).to_contain_text("per second", timeout=30_000)
        asked = Asked(
            ids=answerer.ids("is there a red square?", sizes=[ANY_SIZE]), pictures=(answerer.picture(images / "3.png"),)
        )
        expect(page.locator(".assistant .text")).to_have_text(answerer.answer([asked], MAX_NEW_TOKENS)[0])
        expect(page.locator("#empty")).to_be_hidden()
        page.get_by_label("Your question").fill("<image>")
        page.get_by_label("Send").click()
        expect(page.locator(".fault .text")).to_contain_text("stands for a picture")
        page.get_by_text("New conversation").click()
        expect(page.locator(".line")).to_have_count(0)
        expect(page.locator("#empty")).to_be_visible()
        assert faults == []
        browser.close()
