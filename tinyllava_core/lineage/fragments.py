"""What tasks leave for the lineage: one small Parquet file per table and key. It opens no database and takes no lock.

Written aside, then renamed, so that a fragment is whole or not there; the same key again replaces it, as a retry does. Its footer holds
a hash of its rows: what somebody wrote into it later is found before it is taken in.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tinyllava_core.durable import publish
from tinyllava_core.errors import BadInput
from tinyllava_core.lineage.tables import schema_tables

if TYPE_CHECKING:
    import pyarrow as pa  # at run time only where it is used: a query starts in half the time without it

Fragment = tuple[str, str]  # table, file name
_SEAL = b"tinyllava_sha256"
_HERE = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
_WRITTEN_S = 10.0  # in which a fragment is written many times over
_OURS = "parquet-cpp-arrow"  # what writes fragments, also those of before there were seals


def fragments(workspace: Path) -> Path:
    """Give the folder of a workspace's fragments."""
    return workspace.resolve() / "lineage" / "fragments"


def leave(workspace: Path, table: str, key: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Leave rows for a lineage table, as one fragment; leaving the same key again replaces it. Takes no lock.

    Every row has exactly the table's columns. Times are aware datetimes or ISO texts, and are kept as UTC.
    """
    import pyarrow.parquet as pq

    folder = fragments(workspace) / table
    filled = _typed(table, rows)
    filled = filled.replace_schema_metadata({_SEAL: _sum(filled)})
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"{quote(key, safe=' ')}.parquet"
    aside = folder / f".{_HERE}.{os.getpid()}.{uuid.uuid4().hex}.partial"
    try:
        pq.write_table(filled, aside, write_page_checksum=True)
        publish(aside, final)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def signatures(home: Path) -> dict[Fragment, str]:
    """Find every fragment, with what tells its bytes from those of another writing of it; a killed writer's half is taken away."""
    found: dict[Fragment, str] = {}
    for table in sorted(schema_tables()):
        folder = home / table
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name) if folder.is_dir() else []:
            if entry.name.endswith(".parquet"):
                stat = entry.stat()
                found[table, entry.name] = f"{stat.st_ino}-{stat.st_size}-{stat.st_mtime_ns}"
            elif entry.name.endswith(".partial") and _is_left(entry):
                Path(entry.path).unlink(missing_ok=True)
    return found


def _is_left(entry: os.DirEntry[str]) -> bool:
    """Tell whether the process of this machine that began to write a fragment is gone."""
    import psutil

    here, _, process = entry.name[1:].removesuffix(".partial").rpartition(".")[0].partition(".")
    with contextlib.suppress(FileNotFoundError):
        old = time.time() - entry.stat().st_mtime > _WRITTEN_S
        return old and here == _HERE and process.isdecimal() and not psutil.pid_exists(int(process))
    return False


def read(folder: Path, names: Sequence[str]) -> pa.Table:
    """Read a table's fragments; a column that one lacks (an older version left it) is NULL.

    Raises BadInput for one that cannot be read, whose rows are not those that were left, or that has a column which the table has not.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = schema_tables()[folder.name].columns
    tables: list[pa.Table] = []
    for name in names:
        try:
            file = pq.ParquetFile(folder / name, page_checksum_verification=True)
            rows = file.read()
            as_left, found = _is_as_left(rows, file.metadata.created_by), rows.column_names
        except Exception as error:  # a flipped bit of the footer may be any: half a letter in a column's name, ...
            raise _bad(folder / name, f"not a readable fragment ({one_line(error)})") from None
        if not as_left:
            raise _bad(folder / name, "its rows are not those that were left there")
        foreign = [column for column in found if column not in columns]
        if foreign:
            raise BadInput(
                f"{folder / name}: lineage table {folder.name!r} has no column {', '.join(foreign)}: another version of this package left it; use that one"
            )
        rows = rows.cast(pa.schema([(column, _kinds()[columns[column]]) for column in found]))
        tables.append(rows.append_column("fragment", pa.array([name] * len(rows), pa.string())))
    return pa.concat_tables(tables, promote_options="permissive")


def _is_as_left(rows: pa.Table, writer: str) -> bool:
    """Tell whether a fragment says what was left; one of before there were seals, which has no metadata at all, is taken as it is."""
    metadata = rows.schema.metadata or {}
    return metadata[_SEAL] == _sum(rows) if _SEAL in metadata else not metadata and writer.startswith(_OURS)


def _sum(rows: pa.Table) -> bytes:
    """Hash what rows say, in whatever way they are kept."""
    return hashlib.sha256(json.dumps(rows.to_pydict(), default=str).encode()).hexdigest().encode()


def _bad(fragment: Path, how: str) -> BadInput:
    return BadInput(f"{fragment}: {how}: remove it; a run that meets its artifact leaves it again")


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
    kinds, arrays = _kinds(), {}
    for name, kind in columns.items():
        values = [utc(row[name]) if kind == "TIMESTAMP" else row[name] for row in rows]
        try:
            arrays[name] = pa.array(values, kinds[kind])
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise AssertionError(f"lineage table {table!r}, column {name!r} ({kind}): {error}") from error
    return pa.table(arrays)


def _kinds() -> dict[str, pa.DataType]:
    """Give what DuckDB's types are to Arrow."""
    import pyarrow as pa

    kinds = (pa.string(), pa.bool_(), pa.int64(), pa.float64(), pa.timestamp("us"))
    return dict(zip(("VARCHAR", "BOOLEAN", "BIGINT", "DOUBLE", "TIMESTAMP"), kinds, strict=True))


def utc(value: datetime | str | None) -> datetime | None:
    """Turn a time into what the tables keep: UTC, without saying so."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return value.astimezone(UTC).replace(tzinfo=None) if value is not None and value.tzinfo else value


def one_line(error: BaseException) -> str:
    """Give the first paragraph of an error's text, in one line."""
    return " ".join(str(error).split("\n\n")[0].split())
