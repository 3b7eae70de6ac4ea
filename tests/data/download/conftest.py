"""What the tests of downloads share: a hub's cache of each test's own, and a small data set in a folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tinyllava_core.data.download.download import download
from tinyllava_core.data.manifest.manifest import load
from tinyllava_core.toyworld.server import serving

sys.path.insert(0, str(Path(__file__).parent))
from downloads import QUICK
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


@pytest.fixture
def manifest(tmp_path):
    """Write a manifest and load it."""

    def make(**fields):
        data = {"name": "mine", "licence": "CC0"} | fields
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(data))
        return load(str(tmp_path / "mine.yaml"))

    return make


@pytest.fixture
def call(tmp_path):
    """Download into a fresh folder `out`, as make_once gives one; the cache stays."""

    def run(manifest, on_progress=None):
        out = tmp_path / "out"
        subprocess.run(["rm", "-rf", str(out)], check=True)
        out.mkdir()
        return out, download(manifest, out, tmp_path / "cache", on_progress, QUICK, serve=serving)

    return run
