"""The hand-made workspace as fixtures."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import small_workspace


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published workspace whose every number can be counted on paper; only to be read."""
    return small_workspace.make(tmp_path_factory.mktemp("made") / "workspace")


@pytest.fixture
def workspace(made_once: Path, tmp_path: Path) -> Path:
    """A copy of it to write to: a workspace that was moved."""
    return Path(shutil.copytree(made_once, tmp_path / "workspace"))
