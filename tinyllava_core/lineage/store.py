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
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import duckdb
from filelock import FileLock

from tinyllava_core.errors import BadInput
from tinyllava_core.lineage import views
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

if TYPE_CHECKING:
    import pyarrow as pa  # at run time only where it is used: a query starts in half the time without it

log = logging.getLogger(__name__)
Fragment = tuple[str, str]  # table, file name


def leave(workspace: Path, table: str, key: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Leave rows for a lineage table, as one fragment; leaving the same key again replaces it. Takes no lock.

    Every row has exactly the table's columns. Times are aware datetimes or ISO texts, and are kept as UTC.
    """
    import pyarrow.parquet as pq

    folder = _home(workspace) / "fragments" / table
    filled = _typed(table, rows)
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"{quote(key, safe=' ')}.parquet"
    aside = folder / f".{uuid.uuid4().hex}.partial"
    with aside.open("wb") as file:
        pq.write_table(filled, file)
        file.flush()
        os.fsync(file.fileno())
    aside.rename(final)


def publish(workspace: Path) -> None:
    """Take every new or changed fragment in, then replace `lineage.duckdb` as a whole. One at a time; others wait."""
    with _merging(workspace):
        try:
            _merge(workspace)
        except duckdb.Error as error:
            if "Could not set lock" in str(error):
                raise BadInput(
                    f"{_work(workspace)} is open in another program ({_one_line(error)}): close it there; "
                    f"lineage.duckdb, beside its folder, can be open anywhere at any time"
                ) from None
            log.warning("%s is damaged (%s): making it again from the fragments", _work(workspace), _one_line(error))
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
    if not (_home(workspace) / "fragments").is_dir():
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
    with FileLock(_home(workspace) / ".lock"):
        yield


def _forget(workspace: Path) -> None:
    for name in ("work.duckdb", "work.duckdb.wal"):
        (_home(workspace) / name).unlink(missing_ok=True)


def _merge(workspace: Path) -> None:
    with contextlib.closing(_open_work(workspace)) as work:
        _take_in(work, _home(workspace) / "fragments")
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


def _take_in(work: duckdb.DuckDBPyConnection, fragments: Path) -> None:
    """Make the tables mirror the fragments, in one transaction: rows of new ones in, of changed ones replaced."""
    present = _signatures(fragments)
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
            _insert(work, table, _read(fragments / table, names))
            signatures = [present[table, name] for name in names]
            work.execute("INSERT INTO ingested SELECT ?, unnest(?), unnest(?)", [table, names, signatures])
    work.execute("COMMIT")


def _insert(work: duckdb.DuckDBPyConnection, table: str, rows: pa.Table) -> None:
    work.register("arrived", rows)
    work.execute(f"INSERT INTO {quoted(table)} BY NAME SELECT * FROM arrived")
    work.unregister("arrived")


def _signatures(fragments: Path) -> dict[Fragment, str]:
    """Find every fragment, with what tells its bytes from those of another writing of it."""
    found: dict[Fragment, str] = {}
    for table in sorted(schema_tables()):
        folder = fragments / table
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name) if folder.is_dir() else []:
            if entry.name.endswith(".parquet"):
                stat = entry.stat()
                found[table, entry.name] = f"{stat.st_ino}-{stat.st_size}-{stat.st_mtime_ns}"
    return found


def _read(folder: Path, names: Sequence[str]) -> pa.Table:
    """Read a table's fragments; a column that one lacks (an older version left it) is NULL.

    Raises BadInput for one that cannot be read, or that has a column which the table has not.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = schema_tables()[folder.name].columns
    read: list[pa.Table] = []
    for name in names:
        try:
            rows = pq.ParquetFile(folder / name).read()
        except (pa.ArrowInvalid, OSError) as error:
            raise BadInput(
                f"{folder / name}: not a readable fragment ({_one_line(error)}): remove it; a run that meets its artifact leaves it again"
            ) from None
        foreign = [column for column in rows.column_names if column not in columns]
        if foreign:
            raise BadInput(
                f"{folder / name}: lineage table {folder.name!r} has no column {', '.join(foreign)}: another version of this package left it; use that one"
            )
        read.append(rows.append_column("fragment", pa.array([name] * len(rows), pa.string())))
    return pa.concat_tables(read, promote_options="permissive")


def _write_published(work: duckdb.DuckDBPyConnection, workspace: Path) -> None:
    """Write the tables and the views into a new file, then put it in the published one's place in one step."""
    aside = _home(workspace) / ".published.partial"
    for left in (aside, aside.with_name(aside.name + ".wal")):
        left.unlink(missing_ok=True)
    work.execute(f"ATTACH {literal(str(aside))} AS fresh")
    work.execute("USE fresh")
    work.execute("BEGIN")
    work.execute(SCHEMA)
    for table in schema_tables():
        work.execute(f"INSERT INTO {quoted(table)} BY NAME SELECT * EXCLUDE (fragment) FROM work.{quoted(table)}")
    state = [str(workspace), views.found(workspace), PUBLISHED_SHA256]
    for statement in (*views.statements(workspace), VIEWS):
        work.execute(statement)
    work.execute("INSERT INTO publication VALUES (?, ?, ?, ?)", [*state, _utc(datetime.now(UTC))])
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
        log.warning("%s cannot be read: %s", _published(workspace), _one_line(error))
        connection.close()
        return None
    return connection


def _is_current(connection: duckdb.DuckDBPyConnection, workspace: Path) -> bool:
    expected = (str(workspace.resolve()), views.found(workspace.resolve()), PUBLISHED_SHA256)
    return connection.execute("SELECT workspace, files, sql_sha256 FROM publication").fetchall() == [expected]


def _typed(table: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Put rows into the table's columns and types."""
    import pyarrow as pa

    tables = schema_tables()
    assert table in tables, f"no lineage table {table!r}; schema.sql has {', '.join(tables)}"
    columns = tables[table].columns
    for row in rows:
        missing, foreign = sorted(columns.keys() - row.keys()), sorted(row.keys() - columns.keys())
        assert row.keys() == columns.keys(), (
            f"lineage table {table!r}: missing columns {missing}, unknown columns {foreign}"
        )
    kinds = {
        "VARCHAR": pa.string(),
        "BOOLEAN": pa.bool_(),
        "BIGINT": pa.int64(),
        "DOUBLE": pa.float64(),
        "TIMESTAMP": pa.timestamp("us"),
    }
    arrays = {}
    for name, kind in columns.items():
        values = [_utc(row[name]) if kind == "TIMESTAMP" else row[name] for row in rows]
        try:
            arrays[name] = pa.array(values, kinds[kind])
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise AssertionError(f"lineage table {table!r}, column {name!r} ({kind}): {error}") from error
    return pa.table(arrays)


def _utc(value: datetime | str | None) -> datetime | None:
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return value.astimezone(UTC).replace(tzinfo=None) if value is not None and value.tzinfo else value


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split("\n\n")[0].split())
