"""The lineage store: tasks leave rows as fragments, one merger takes them in and publishes, readers read the published file.

No process but the merger, which holds a file lock, ever opens `work.duckdb`; nobody ever writes to `lineage.duckdb`: it is
replaced whole. Fragments are never deleted: they are the truth, from which everything here can be rebuilt.

    <workspace>/lineage.duckdb                          what readers open
    <workspace>/lineage/fragments/<table>/<key>.parquet what tasks leave
    <workspace>/lineage/work.duckdb                     the merger's own
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
from filelock import FileLock

from tinyllava_core.errors import BadInput
from tinyllava_core.lineage import views
from tinyllava_core.lineage.fragments import fragments, leave, one_line, read, signatures, utc
from tinyllava_core.lineage.running import tell_killed
from tinyllava_core.lineage.tables import (
    PUBLISHED_SHA256,
    SCHEMA,
    SCHEMA_SHA256,
    VIEWS,
    WORK,
    connect,
    literal,
    quoted,
    schema_tables,
)
from tinyllava_core.room import is_full, told

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["leave", "open_read_only", "publish", "rebuild"]

log = logging.getLogger(__name__)


def publish(workspace: Path) -> None:
    """Take every new or changed fragment in, then replace `lineage.duckdb` as a whole. One at a time; others wait.

    Raises DiskFull where there is no room for it: the published file then stays as it is.
    """
    tell_killed(workspace)
    with _merging(workspace):
        try:
            _merge(workspace)
        except duckdb.Error as error:
            if is_full(error):
                raise
            if "Could not set lock" in str(error):
                raise BadInput(
                    f"{_work(workspace)} is open in another program ({one_line(error)}): close it there; "
                    f"lineage.duckdb, beside its folder, can be open anywhere at any time"
                ) from None
            log.warning("%s is damaged (%s): making it again from the fragments", _work(workspace), one_line(error))
            _forget(workspace)
            _merge(workspace)


def rebuild(workspace: Path) -> None:
    """Make the database again from nothing but the fragments and the artifact folders."""
    with _merging(workspace):
        _forget(workspace)
        _merge(workspace)


def open_read_only(workspace: Path) -> duckdb.DuckDBPyConnection:
    """Open the published database: a snapshot that later publishing does not change. Needs no lock and blocks nobody.

    Publishes first if there is no readable file yet, or if its views are stale: the workspace was moved, the package was
    changed, a first artifact of a stage has come. Raises BadInput if the workspace has no lineage.
    """
    connection = _attach(workspace)
    if connection is not None and _is_current(connection, workspace):
        return connection
    if not fragments(workspace).is_dir():
        if connection is not None:
            return connection  # all that is left of it
        raise BadInput(
            f"{workspace}: no lineage here: nothing was run in this workspace; `tinyllava run toy`, or name another with --workspace"
        )
    if connection is not None:
        connection.close()
    try:
        publish(workspace)
    except OSError as error:
        raise BadInput(
            f"{_published(workspace)} is stale and cannot be written again: {error}; copy the workspace to where you may write"
        ) from None
    connection = _attach(workspace)
    assert connection is not None, f"{_published(workspace)} was just published and cannot be read"
    return connection


def _home(workspace: Path) -> Path:
    return workspace.resolve() / "lineage"


def _work(workspace: Path) -> Path:
    return _home(workspace) / "work.duckdb"


def _published(workspace: Path) -> Path:
    return workspace.resolve() / "lineage.duckdb"


@contextlib.contextmanager
def _merging(workspace: Path) -> Iterator[None]:
    """Hold the one lock under which anything is ever written by DuckDB."""
    _home(workspace).mkdir(parents=True, exist_ok=True)
    with (
        told("the lineage's database", _home(workspace), lambda: _clear(workspace)),
        FileLock(_home(workspace) / ".lock"),
        _uninterrupted(),
    ):
        yield


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let signals that would raise wait for the end of the block.

    An exception out of the middle of DuckDB's work leaves a database half closed, for which whoever opens the same file in this process
    then waits for ever: a run that was ended as it published did so once more on its way out, and never ended.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    raising = [number for number in (signal.SIGINT, signal.SIGTERM) if callable(signal.getsignal(number))]
    before = [signal.signal(number, lambda number, _: came.append(number)) for number in raising]
    try:
        yield
    finally:
        for number, handler in zip(raising, before, strict=True):
            signal.signal(number, handler)
        for waiting in dict.fromkeys(came):
            signal.raise_signal(waiting)


def _clear(workspace: Path) -> None:
    for left in (_aside(workspace), _aside(workspace).with_name(_aside(workspace).name + ".wal")):
        left.unlink(missing_ok=True)


def _aside(workspace: Path) -> Path:
    """Name what becomes the published file, beside it: the lineage's folder may be a link to another disk."""
    return _published(workspace).with_name(".lineage.duckdb.partial")


def _forget(workspace: Path) -> None:
    for name in ("work.duckdb", "work.duckdb.wal"):
        (_home(workspace) / name).unlink(missing_ok=True)


def _merge(workspace: Path) -> None:
    with contextlib.closing(_open_work(workspace)) as work:
        _take_in(work, fragments(workspace))
        _write_published(work, workspace.resolve())


def _open_work(workspace: Path) -> duckdb.DuckDBPyConnection:
    """Open the merger's database, made anew if there is none or if another schema.sql made it."""
    work = connect(str(_work(workspace)))
    known = {name for (name,) in work.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    if "made_with" in known and work.execute("SELECT sql_sha256 FROM made_with").fetchall() == [(SCHEMA_SHA256,)]:
        return work
    if known:
        work.close()
        _forget(workspace)
        work = connect(str(_work(workspace)))
    work.execute("BEGIN")
    work.execute(SCHEMA)
    for table in schema_tables():
        work.execute(f"ALTER TABLE {quoted(table)} ADD COLUMN fragment VARCHAR")
    work.execute(WORK)
    work.execute("INSERT INTO made_with VALUES (?)", [SCHEMA_SHA256])
    work.execute("COMMIT")
    return work


def _take_in(work: duckdb.DuckDBPyConnection, home: Path) -> None:
    """Make the tables mirror the fragments, in one transaction: rows of new ones in, of changed ones replaced."""
    present = signatures(home)
    known = {(table, name): signature for table, name, signature in work.execute("FROM ingested").fetchall()}
    outdated = [fragment for fragment in known if present.get(fragment) != known[fragment]]
    arrived = [fragment for fragment in present if known.get(fragment) != present[fragment]]
    work.execute("BEGIN")
    for table in schema_tables():
        names = [name for owner, name in outdated if owner == table]
        if names:
            work.execute(f"DELETE FROM {quoted(table)} WHERE fragment IN (SELECT unnest(?))", [names])
            work.execute("DELETE FROM ingested WHERE table_name = ? AND fragment IN (SELECT unnest(?))", [table, names])
        names = [name for owner, name in arrived if owner == table]
        if names:
            _insert(work, table, read(home / table, names))
            arrived_as = [present[table, name] for name in names]
            work.execute("INSERT INTO ingested SELECT ?, unnest(?), unnest(?)", [table, names, arrived_as])
    work.execute("COMMIT")


def _insert(work: duckdb.DuckDBPyConnection, table: str, rows: pa.Table) -> None:
    work.register("arrived", rows)
    work.execute(f"INSERT INTO {quoted(table)} BY NAME SELECT * FROM arrived")
    work.unregister("arrived")


def _write_published(work: duckdb.DuckDBPyConnection, workspace: Path) -> None:
    """Write the tables and the views into a new file, then put it in the published one's place in one step."""
    aside = _aside(workspace)
    _clear(workspace)
    work.execute(f"ATTACH {literal(str(aside))} AS fresh")
    work.execute("USE fresh")
    work.execute("BEGIN")
    work.execute(SCHEMA)
    for table in schema_tables():
        work.execute(f"INSERT INTO {quoted(table)} BY NAME SELECT * EXCLUDE (fragment) FROM work.{quoted(table)}")
    state = [str(workspace), views.found(workspace), PUBLISHED_SHA256]
    for statement in (*views.statements(workspace), VIEWS):
        work.execute(statement)
    work.execute("INSERT INTO publication VALUES (?, ?, ?, ?)", [*state, utc(datetime.now(UTC))])
    work.execute("COMMIT")
    work.execute("USE work")
    work.execute("DETACH fresh")  # everything is in the one file now
    aside.replace(_published(workspace))


def _attach(workspace: Path) -> duckdb.DuckDBPyConnection | None:
    """Attach the published file to an empty database of its own, so that a later open in this process sees a later file."""
    if not _published(workspace).is_file():
        return None
    connection = connect()
    try:
        connection.execute(f"ATTACH {literal(str(_published(workspace)))} AS lineage (READ_ONLY)")
        connection.execute("USE lineage")
        connection.execute("SELECT count(*) FROM publication")
    except duckdb.Error as error:
        log.warning("%s cannot be read: %s", _published(workspace), one_line(error))
        connection.close()
        return None
    return connection


def _is_current(connection: duckdb.DuckDBPyConnection, workspace: Path) -> bool:
    expected = (str(workspace.resolve()), views.found(workspace.resolve()), PUBLISHED_SHA256)
    return connection.execute("SELECT workspace, files, sql_sha256 FROM publication").fetchall() == [expected]
