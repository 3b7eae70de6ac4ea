"""What tests of any area may ask for. A Prefect server is slow to start: one for the whole session, and only if asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Keep the sizes of parts with pytest's own cache, for this session and the next, and out of the user's."""
    os.environ["TINYLLAVA_CACHE"] = str(config.cache.mkdir("tinyllava"))  # type: ignore[union-attr]


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

    from tasks.running.server import api

    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")  # nobody answers there: our own is started
            server = stack.enter_context(api(prefect_workspace, say=lambda _: None))
        here = stack.enter_context(pytest.MonkeyPatch.context())
        here.setenv("PREFECT_API_AUTH_STRING", str(server.key))  # for what tests start as programs
        stack.enter_context(temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False}))
        yield server.api_url


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """An S3 server on this machine; gives its URL."""
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the s3:// URL of a bucket on the session's S3 server, which this process (and what it starts) finds and may use."""
    import s3fs

    for name, value in (
        ("AWS_ENDPOINT_URL", s3_endpoint),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    system = s3fs.S3FileSystem()
    if not system.exists("test-bucket"):
        system.mkdir("test-bucket")
    return "s3://test-bucket"
