"""A real headless browser for tests of pages: Debian's chromium, driven by playwright. It reaches nothing but this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

QUIET = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@contextmanager
def browser() -> Iterator[Any]:
    """Start the browser. Without one, a test is skipped; in continuous integration (CI is set) it fails instead."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs a browser: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=program, args=QUIET)
        try:
            yield opened
        finally:
            opened.close()
