"""What the tests of downloads share: a hub's cache of each test's own, and a small data set in a folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from rows_world import files


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A hub's cache of this test's own, whatever the environment says."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    for name in ("HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(tmp_path, photos):
    """The data set in a local folder."""
    for name, data in files(photos).items():
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(data)
    return tmp_path / "set"
