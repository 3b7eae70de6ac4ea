"""Prefect's pages in a real browser: they work behind the fence, and ask nobody but their own server."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from browser import browser
from prefect import flow, get_client
from prefect.artifacts import create_image_artifact, create_link_artifact

from tasks.running.key import key_of
from tasks.running.reports import place


def test_a_stage_s_artifacts_lead_to_the_report_and_the_loss_on_the_same_server(
    prefect_server: str, prefect_workspace: Path
) -> None:
    """The picture of the loss is drawn when it is looked at, and the link opens the report in the same browser."""
    key, name = key_of(prefect_workspace), "00112233445566ff"
    made = prefect_workspace / "artifacts"
    (made / "report" / name).mkdir(parents=True)
    (made / "report" / name / "report.html").write_text("<title>the report</title><p>92.3</p>")
    (made / "sft" / f".{name}.partial").mkdir(parents=True)
    (made / "sft" / f".{name}.partial" / "steps.jsonl").write_text('{"step": 0, "loss": 3}\n{"step": 1, "loss": 2}\n')
    (made / "sft" / f".{name}.partial" / "lives.jsonl").write_text('{"from_step": 0}\n')

    @flow
    def shown() -> None:
        create_link_artifact(place(key, "report", name), "Open the report", key="report-page")
        create_image_artifact(place(key, "sft", name), key="loss-sft")

    shown()
    base = prefect_server.removesuffix("/api")
    with get_client(sync_client=True) as client:
        ids = {artifact.key: artifact.id for artifact in client.read_artifacts()}
    with browser() as chromium:
        page = let_in(chromium, key)
        page.goto(f"{base}/v2/artifacts/artifact/{ids['loss-sft']}")
        picture = page.locator(f"img[src*='{name}']").first
        picture.wait_for(timeout=60_000)
        page.wait_for_function(
            "image => image.complete && image.naturalWidth > 0", arg=picture.element_handle(), timeout=120_000
        )
        page.goto(f"{base}/v2/artifacts/artifact/{ids['report-page']}")
        page.get_by_text("Open the report").first.wait_for(timeout=60_000)
        link = page.get_by_role("link", name="Open the report").first.get_attribute("href")
        page.goto(f"{base}{link}")
        assert page.title() == "the report"


def let_in(chromium: Any, key: str) -> Any:
    """Open a page that has the key of the server, as after its owner typed it."""
    page = chromium.new_page(viewport={"width": 1280, "height": 800})
    password = base64.b64encode(key.encode()).decode()
    page.add_init_script(f"localStorage.setItem('prefect-password', '{password}')")
    return page


def test_prefect_s_pages_work_and_ask_nobody_else(prefect_server: str, prefect_workspace: Path) -> None:
    """Without the fence the dashboard asks a host on the internet for the settings of its analytics."""
    base, asked, refused = prefect_server.removesuffix("/api"), [], []
    with browser() as chromium:
        page = let_in(chromium, key_of(prefect_workspace))
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda said: refused.append(said.text) if "Content Security Policy" in said.text else None)
        for path in ("/v2/dashboard", "/v2/runs", "/v2/artifacts"):
            page.goto(base + path)
            page.get_by_role("link", name="Dashboard").first.wait_for(timeout=60_000)
            page.wait_for_timeout(1500)  # what is asked once the page is there
        assert page.locator("text=Artifacts").count() > 0
    hosts = {urlsplit(url).netloc for url in asked if urlsplit(url).scheme not in ("data", "blob")}
    assert hosts == {urlsplit(base).netloc}
    assert len([url for url in asked if "/api/" in url]) > 3, "the pages got past the key"
    assert any("amplitude" in text for text in refused), "nothing to refuse any more: is the fence still needed?"
