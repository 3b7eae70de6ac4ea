"""Prefect's pages in a real browser: they work behind the fence, and ask nobody but their own server."""

from __future__ import annotations

import base64
from pathlib import Path
from urllib.parse import urlsplit

from browser import browser

from tasks.running.key import key_of


def test_prefect_s_pages_work_and_ask_nobody_else(prefect_server: str, prefect_workspace: Path) -> None:
    """Without the fence the dashboard asks a host on the internet for the settings of its analytics."""
    base, asked, refused = prefect_server.removesuffix("/api"), [], []
    password = base64.b64encode(key_of(prefect_workspace).encode()).decode()
    with browser() as chromium:
        page = chromium.new_page(viewport={"width": 1280, "height": 800})
        page.add_init_script(f"localStorage.setItem('prefect-password', '{password}')")
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
