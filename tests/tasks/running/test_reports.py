"""Reports on the server's own address, behind a ticket; and what a page of that server may ask."""

from __future__ import annotations

import base64
from pathlib import Path
from xml.etree import ElementTree

import pytest
from prefect.settings import PREFECT_API_AUTH_STRING, temporary_settings
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from tasks.running.key import key_of
from tasks.running.reports import Reports, drawn, place
from tasks.running.shown import address, table
from tinyllava_core.data.inspect.small import inline

NAME = "0123456789abcdef"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    file = tmp_path / "artifacts" / "report" / NAME / "report.html"
    file.parent.mkdir(parents=True)
    file.write_text("<p>92.3</p>")
    return file


@pytest.fixture
def browser(tmp_path: Path) -> TestClient:
    return TestClient(Reports(PlainTextResponse("inside"), tmp_path, "the key", 4200))


def test_a_report_is_given_to_who_has_its_address(page: Path, browser: TestClient) -> None:
    answer = browser.get(place("the key", "report", NAME))
    assert (answer.status_code, answer.text) == (200, "<p>92.3</p>")
    assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "path",
    [
        f"/made/report/{NAME}/{'0' * 32}",
        f"/made/report/{NAME}",
        place("another key", "report", NAME),
        place("the key", "report", NAME).replace(NAME, "fedcba9876543210"),
        f"/made/report/%2e%2e%2f{NAME}/{'0' * 32}",
        place("the key", "report", "fedcba9876543210"),  # a true ticket, and no such report
    ],
)
def test_nobody_else_gets_one(page: Path, browser: TestClient, path: str) -> None:
    assert browser.get(path).status_code == 404


def test_the_rest_is_answered_inside_and_may_ask_this_server_alone(browser: TestClient) -> None:
    answer = browser.get("/v2/runs")
    assert answer.text == "inside"
    asks = answer.headers["content-security-policy"].split("connect-src ")[1].split()
    assert asks == ["'self'"] + [
        f"{way}://{name}:4200" for way in ("http", "ws") for name in ("127.0.0.1", "localhost")
    ]


def test_a_report_has_an_address_on_its_own_workspace_s_server_alone(tmp_path: Path) -> None:
    with temporary_settings({PREFECT_API_AUTH_STRING: "another server's"}):
        assert address(tmp_path, "report", NAME) is None
    key = key_of(tmp_path)
    with temporary_settings({PREFECT_API_AUTH_STRING: key}):
        assert address(tmp_path, "report", NAME) == place(key, "report", NAME)


def test_a_stage_s_numbers_are_rounded_and_named_in_words() -> None:
    told = {"num_records": 4800, "size_bytes": 18_400_000, "last_loss": 0.112512, "held_out_loss": None, "is_x": True}
    assert table({**told, "checkpoint_sha256": "ab" * 32, "seconds": 12345.678}).splitlines()[2:] == [
        "| records | 4,800 |",
        "| size | 18.4 MB |",
        "| last loss | 0.1125 |",
        "| is x | yes |",
        "| checkpoint sha256 | `abababababab` |",
        "| seconds | 12,345.7 |",
    ]


@pytest.mark.parametrize("name", [NAME, f".{NAME}.partial"])
def test_a_loss_curve_is_a_picture_by_itself_also_while_its_training_goes_on(
    tmp_path: Path, browser: TestClient, name: str
) -> None:
    """Read by another program than the one that writes it: XML with a name space, without anything from elsewhere."""
    folder = tmp_path / "artifacts" / "sft" / name
    folder.mkdir(parents=True)
    (folder / "steps.jsonl").write_text("".join(f'{{"step": {at}, "loss": {3 - at}}}\n' for at in range(3)))
    (folder / "lives.jsonl").write_text('{"from_step": 0}\n{"from_step": 1}\n')
    answer = browser.get(place("the key", "sft", NAME))
    assert answer.headers["content-type"] == "image/svg+xml"
    root = ElementTree.fromstring(answer.text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert [child.get("class") for child in root if child.tag.endswith("polyline")] == ["raw", "smooth"]
    head, body = inline(drawn("sft", folder).encode(), "svg+xml").split(",")
    assert head == "data:image/svg+xml;base64"
    assert base64.b64decode(body).decode() == answer.text


def test_before_the_first_step_the_curve_is_an_empty_picture(tmp_path: Path) -> None:
    (tmp_path / "steps.jsonl").touch()
    (tmp_path / "lives.jsonl").touch()
    assert ElementTree.fromstring(drawn("sft", tmp_path)).tag == "{http://www.w3.org/2000/svg}svg"
