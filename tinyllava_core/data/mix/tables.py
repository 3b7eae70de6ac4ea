"""The tables that a mix is made from, open in DuckDB: the sources' records and images, as `inspect` left them.

Memory is bounded, whatever the number of records: what does not fit goes to a scratch folder. Nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from tinyllava_core.data.inspect.tables import RECORDS_SCHEMA, SteadyWriter

MEMORY_LIMIT = "800MB"  # of DuckDB; what is beyond it is written to the scratch folder
HERE = Path(__file__).parent
_ROWS = 50_000  # taken from the database at a time


def connect(scratch: Path | None = None, readable: Sequence[Path] = ()) -> duckdb.DuckDBPyConnection:
    """Open an empty database in memory that reaches no file but its scratch folder's and those in the folders `readable`."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "preserve_insertion_order": "false",
    }
    if scratch is not None:
        config |= {"memory_limit": MEMORY_LIMIT, "temp_directory": str(scratch)}
    connection = duckdb.connect(config=config)
    folders = [name for folder in readable for name in (str(folder), _without_pattern(folder))]
    connection.execute("SET allowed_directories = $folders", {"folders": folders})
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def add_records(connection: duckdb.DuckDBPyConnection, inspected: Sequence[Path]) -> None:
    """Make the views `record` (every good record of the sources), `image` (every picture) and `described`, and the tables of candidates.sql."""
    add_view(connection, "record", [folder / "records.parquet" for folder in inspected])
    add_view(connection, "image", [folder / "images.parquet" for folder in inspected])
    _describe(connection)
    run_sql(connection, "candidates")


def add_view(connection: duckdb.DuckDBPyConnection, name: str, files: Sequence[Path]) -> None:
    """Make a view over Parquet files of one shape."""
    paths = ", ".join(as_literal(file) for file in files)
    connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet([{paths}])")


def run_sql(
    connection: duckdb.DuckDBPyConnection, name: str, values: Mapping[str, object] | None = None
) -> duckdb.DuckDBPyConnection:
    """Run the statements of a .sql file beside this one, each with the bound values that it names -> the last one's rows."""
    for statement in connection.extract_statements((HERE / f"{name}.sql").read_text(encoding="utf-8")):
        connection.execute(statement, {key: (values or {})[key] for key in statement.named_parameters})
    return connection


def described_columns() -> dict[str, str]:
    """Give the columns of a record that filters may name -> name, SQL type, in the order of record_columns.sql."""
    with connect() as connection:
        connection.register("record", RECORDS_SCHEMA.empty_table())
        _describe(connection)
        return {name: kind for name, kind, *_ in connection.execute("DESCRIBE described").fetchall()}


def as_literal(file: Path) -> str:
    """Write a file's path as an SQL text, in which DuckDB sees no pattern. CREATE VIEW takes no bound values."""
    return as_text(_without_pattern(file))


def as_text(text: str) -> str:
    """Write an SQL text."""
    return "'" + text.replace("'", "''") + "'"


def as_name(name: str) -> str:
    """Write a name, whatever a stranger's table calls its column."""
    return '"' + name.replace('"', '""') + '"'


def write_rows(rows: duckdb.DuckDBPyConnection, schema: pa.Schema, path: Path) -> None:
    """Write a query's rows to Parquet, in their order, some at a time."""
    with SteadyWriter(path, schema) as writer:
        for batch in rows.to_arrow_reader(_ROWS):
            writer.add(pa.Table.from_batches([batch]).cast(schema))


def _describe(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(f"CREATE VIEW described AS {(HERE / 'record_columns.sql').read_text(encoding='utf-8')}")


def _without_pattern(path: Path) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(path))
