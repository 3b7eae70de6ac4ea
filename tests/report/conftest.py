"""A made-up run as a fixture."""

from __future__ import annotations

import pytest
from made_up_run import MadeUp, made_up_run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> MadeUp:
    """A whole run of the toy recipe; only to be read."""
    return made_up_run(tmp_path_factory.mktemp("run") / "workspace")
