"""The lineage tables as their SQL files declare them: names, columns, types. It holds no rows and opens no file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import duckdb

HERE = Path(__file__).parent
SCHEMA, FILES, VIEWS, WORK = ((HERE / f"{name}.sql").read_text() for name in ("schema", "files", "views", "work"))
SCHEMA_SHA256 = hashlib.sha256((SCHEMA + WORK).encode()).hexdigest()
PUBLISHED_SHA256 = hashlib.sha256((SCHEMA + FILES + VIEWS).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One declared table: its comment, and its columns with their SQL types, in order."""

    name: str
    comment: str
    columns: dict[str, str]


def connect(path: str = ":memory:") -> duckdb.DuckDBPyConnection:
    """Open a DuckDB that never goes to the network for an extension."""
    connection = duckdb.connect(path)
    connection.execute("SET autoinstall_known_extensions = false")
    return connection


@cache
def schema_tables() -> dict[str, Table]:
    """Give the tables of schema.sql, which tasks leave rows for."""
    return _declared(SCHEMA)


@cache
def file_tables() -> dict[str, Table]:
    """Give the tables of files.sql, which are views over files in artifact folders."""
    return _declared(FILES)


def quoted(name: str) -> str:
    """Write a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Write a text as an SQL string, for the statements that take no bound values (ATTACH, CREATE VIEW)."""
    return "'" + text.replace("'", "''") + "'"


def _declared(sql: str) -> dict[str, Table]:
    with connect() as scratch:
        scratch.execute(sql)
        comments = scratch.execute("SELECT table_name, comment FROM duckdb_tables() ORDER BY table_oid").fetchall()
        columns = scratch.execute(
            "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal ORDER BY table_oid, column_index"
        ).fetchall()
    found: dict[str, dict[str, str]] = {}
    for table, column, kind in columns:
        found.setdefault(table, {})[column] = kind
    return {name: Table(name=name, comment=comment or "", columns=found[name]) for name, comment in comments}
