"""What tests of any area may ask for, and how they are dealt to several workers (`make test` runs pytest with -n)."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

# Minutes of work that cannot be divided come first: whoever starts them last is waited for.
LONGEST_FIRST = ("tests/flows/", "tests/tasks/", "tests/train/", "tests/evaluate/answer/", "tests/data/download/")
TOGETHER = LONGEST_FIRST[:2]  # each of these folders shares a Prefect server, so it goes to one worker


def pytest_configure(config: pytest.Config) -> None:
    """Keep the sizes of parts with pytest's own cache, for this session and the next, and out of the user's."""
    cache = getattr(config, "cache", None)  # pytest may run without one: `-p no:cacheprovider`
    os.environ["TINYLLAVA_CACHE"] = str(cache.mkdir("tinyllava") if cache else Path(config.rootpath, ".pytest_cache"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        return next(
            (at for at, folder in enumerate(LONGEST_FIRST) if item.nodeid.startswith(folder)), len(LONGEST_FIRST)
        )

    items.sort(key=rank)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Deal whole files to the workers, so that what a file shares is made once, in the order of the collection."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((folder for folder in TOGETHER if nodeid.startswith(folder)), super()._split_scope(nodeid))

    config.option.loadscopereorder = False
    return Scheduling(config, log)


@pytest.fixture(scope="session")
def of_all_workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the workers of this test run share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def prefect_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace with the Prefect database of this worker."""
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture(scope="session")
def prefect_database(of_all_workers: Path) -> Path:
    """Where a copy of an empty Prefect database lies, once a server has laid one out, which takes it 10 s."""
    return of_all_workers / "prefect.db"


@pytest.fixture(scope="session")
def prefect_server(prefect_workspace: Path, prefect_database: Path) -> Iterator[str]:
    """A Prefect server of this worker's own, with an empty database; gives its API's URL.

    Not prefect_test_harness: that one dies of the `dataclasses` back-port, and this tests what users get.
    """
    from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

    from tasks.running.alive import home
    from tasks.running.server import api

    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch, FileLock(f"{prefect_database}.lock"):
            patch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")  # nobody answers there: our own is started
            found = prefect_database.exists()
            if found:
                home(prefect_workspace).mkdir()
                shutil.copy(prefect_database, home(prefect_workspace) / "prefect.db")
            server = stack.enter_context(api(prefect_workspace, say=lambda _: None))
            if not found:
                database = home(prefect_workspace) / "prefect.db"
                with closing(sqlite3.connect(database)) as used, closing(sqlite3.connect(prefect_database)) as copy:
                    used.backup(copy)
                prefect_database.chmod(0o600)  # as a server makes it; a copy has its rights
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


@pytest.fixture(scope="session")
def tiny_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the parts `tiny` lie: the smallest vision encoder and language model of the real classes."""
    from tiny import make_parts

    folder = tmp_path_factory.mktemp("parts")
    make_parts(folder)
    return folder


@pytest.fixture(scope="module")
def tiny_parts(tiny_home: Path) -> Iterator[Path]:
    """Put the parts `tiny` into the tables, for the tests of one file."""
    from tiny import tiny_rows

    from tinyllava_core.parts import LANGUAGES, VISIONS

    with pytest.MonkeyPatch.context() as patch:
        for table, row in zip((VISIONS, LANGUAGES), tiny_rows(tiny_home), strict=True):
            patch.setitem(table, "tiny", row)
        yield tiny_home


@pytest.fixture
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """Mount a file system of a given size ("1m"); asked again for the same folder, it is given another size."""
    with ExitStack() as until_the_end:

        def mount(size: str, folder: Path | None = None) -> Path:
            if folder is not None:
                subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)
                return folder
            folder = tmp_path_factory.mktemp("disk")
            mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=False)
            if mounted.returncode != 0:
                pytest.skip("mounting a file system is root's")
            until_the_end.callback(subprocess.run, ["umount", "-l", folder], check=False)
            return folder

        yield mount
