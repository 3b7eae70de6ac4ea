"""What tests of any area may ask for. A Prefect server is slow to start: one for the whole session, and only if asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def prefect_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace with this session's Prefect database, which takes 10 s to lay out."""
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture(scope="session")
def prefect_server(prefect_workspace: Path) -> Iterator[str]:
    """A Prefect server of this session's own, with an empty database; gives its API's URL.

    Not prefect_test_harness: that one dies of the `dataclasses` back-port, and this tests what users get.
    """
    from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

    from tasks.server import api

    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")  # nobody answers there: our own is started
            server = stack.enter_context(api(prefect_workspace, say=lambda _: None))
        stack.enter_context(temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False}))
        yield server.api_url
