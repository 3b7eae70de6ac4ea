"""A run in an empty workspace, with a recipe small enough to read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.run import Run
from tinyllava_core.recipe import load


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """The toy recipe in an empty workspace."""
    return Run(run_id="toy-1", workspace=tmp_path / "workspace", recipe=load("toy"))
