"""Ask the lineage: the queries that come with the package, and any SQL of the user's. It only reads.

A shipped query opens with a comment: what it answers, then a line for each parameter: `-- $name = default: meaning`, or
`-- $name: meaning` if it has to be given. Values are bound, never formatted in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from tinyllava_core.errors import BadInput, nearest, unknown
from tinyllava_core.lineage.tables import literal
from tinyllava_core.lineage.views import without_pattern

_READING = "SELECT"  # DuckDB's word; SHOW and DESCRIBE are a SELECT to it
_EXPLAIN = re.compile(r"\s*EXPLAIN\s+(ANALYZE\s+|\([^()]*\)\s*)?", re.IGNORECASE)
_READABLE = (
    "artifacts",
    "lineage",
    "studies",
    "judged",
)  # of a workspace; beside them lie the key to Prefect's server and caches
QUERIES = Path(__file__).parent / "queries"
_SUMS_COSINES = re.compile(r"\b(sum|avg|mean|fsum|kahan_sum|favg)\s*\([^()]*\bcosine\b", re.IGNORECASE)
_PARAMETER = re.compile(r"-- \$(?P<name>\w+)(?P<default> = (?P<value>.+?))?: (?P<meaning>.+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A value that a shipped query asks for."""

    name: str
    required: bool
    default: str | None  # None is SQL's NULL
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A shipped query: one file of queries/."""

    name: str
    meaning: str
    parameters: tuple[Parameter, ...]
    sql: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back: column names, and rows of Python values."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def shipped() -> dict[str, Query]:
    """Read the queries that come with the package, by name."""
    return {path.stem: read(path) for path in sorted(QUERIES.glob("*.sql"))}


def read(path: Path) -> Query:
    """Read one query file with its opening comment."""
    sql = path.read_text(encoding="utf-8")
    lines = sql.splitlines()
    found = [match for line in lines if (match := _PARAMETER.fullmatch(line))]
    parameters = tuple(
        Parameter(
            name=match["name"],
            required=match["default"] is None,
            default=None if match["value"] in (None, "null") else match["value"],
            meaning=match["meaning"],
        )
        for match in found
    )
    return Query(name=path.stem, meaning=lines[0].removeprefix("-- "), parameters=parameters, sql=sql)


def ask(connection: duckdb.DuckDBPyConnection, question: str, values: Mapping[str, str]) -> Answer:
    """Answer a shipped query (by its name) or any SQL, with `values` bound to its `$name` parameters.

    Raises BadInput: no such query, a parameter missing or unknown, or what the database says against the SQL.
    """
    sql, bound = bind(question, values)
    if question in shipped():
        bound = {name: _named(connection, name, value) for name, value in bound.items()}
        if bound.keys() >= {"step", "checkpoint"}:
            _check_step(connection, bound)
    try:
        _check_reads(connection, sql)
        cursor = connection.execute(sql, bound or None)
        return Answer(columns=tuple(column[0] for column in cursor.description or ()), rows=cursor.fetchall())
    except duckdb.Error as error:
        raise BadInput(f"SQL: {_explained(connection, str(error))}") from None


def confine(connection: duckdb.DuckDBPyConnection, workspace: Path) -> None:
    """Let what is asked of a connection from here on reach no file but what stages and studies left, load nothing, and change no setting."""
    places = [str(workspace.resolve() / name) for name in _READABLE]
    # and as the views name them; not bound: to bind a text, DuckDB imports numpy and pandas
    allowed = ", ".join(literal(one) for place in places for one in (place, without_pattern(place)))
    connection.execute(f"SET allowed_directories = [{allowed}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _check_reads(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Raise BadInput unless this is one statement that only reads."""
    if _SUMS_COSINES.search(sql):
        raise BadInput(
            "SQL: cosines cannot be summed over records: such sums rank groups backwards; sum the column kernel, or ask view "
            "attributed_groups"
        )
    found = connection.extract_statements(sql)
    if len(found) == 1 and _kind(found[0]) == "EXPLAIN":  # EXPLAIN ANALYZE runs what it explains
        found = connection.extract_statements(_EXPLAIN.sub("", found[0].query, count=1))
    kinds = [_kind(statement) for statement in found]
    if len(found) != 1 or kinds[0] != _READING:
        raise BadInput(
            f"SQL: the lineage is read-only: expected one statement that reads (SELECT, WITH, FROM, SHOW, DESCRIBE, EXPLAIN), found {', '.join(kinds) or 'none'}; "
            "to write, open a copy of lineage.duckdb with DuckDB itself"
        )


def _kind(statement: duckdb.Statement) -> str:
    return str(statement.type).rpartition(".")[2]


NAMED = {  # parameters that name something: what it is, and all of that kind that there is, the likeliest first
    "run": ("run", "SELECT run_id FROM run ORDER BY started_at DESC"),
    # the trained ones first; whatever was made from a checkpoint names it too
    "checkpoint": (
        "checkpoint",
        "SELECT fingerprint FROM artifact LEFT JOIN train USING (fingerprint) ORDER BY train.stage IS NULL, made_at DESC",
    ),
    "source": ("source", "SELECT DISTINCT source FROM source ORDER BY source"),
    "stage": ("training stage", "SELECT DISTINCT name FROM stage WHERE stage = 'mix' ORDER BY name"),
    "by": ("group", "VALUES ('source'), ('component')"),
}
NAMED |= {"first": NAMED["run"], "second": NAMED["run"]}
BY_LETTERS = {"run", "first", "second", "checkpoint"}  # the first letters are enough
STEPS = """
SELECT max(step) FROM ledger
WHERE starts_with(fingerprint, $checkpoint) OR list_contains(string_split($checkpoint, '/'), fingerprint)
    OR ($checkpoint IS NULL AND fingerprint = (SELECT arg_max(fingerprint, made_at) FROM artifact WHERE stage = 'sft'))
"""


def _named(connection: duckdb.DuckDBPyConnection, name: str, value: str | None) -> str | None:
    """Give a parameter's value: `latest` is the newest. Raises BadInput if it names what is not there."""
    if value is None or name not in NAMED:
        return value
    if value == "latest" and name in BY_LETTERS:
        return None
    what, listed = NAMED[name]
    begins = " OR starts_with(word, $value)" if name in BY_LETTERS else ""
    there = (
        f"SELECT 1 FROM ({listed}) AS known(word) WHERE list_contains(string_split($value, '/'), word){begins} LIMIT 1"
    )
    if connection.execute(there, {"value": value}).fetchone():
        return value
    known = [word for (word,) in connection.execute(f"SELECT word FROM ({listed}) AS known(word) LIMIT 200").fetchall()]
    if not known and name not in BY_LETTERS:  # nothing to tell a wrong name by
        return value
    if name in BY_LETTERS:
        more = f"; the newest: {', '.join(known[:3])}"
    else:
        more = f"{nearest(value, known)}; there are {', '.join(known[:12])}"
    raise BadInput(f"{name}={value}: there is no such {what} in this lineage{more if known else ', nor any other'}")


def _check_step(connection: duckdb.DuckDBPyConnection, bound: Mapping[str, str | None]) -> None:
    """Raise BadInput if a checkpoint's training had no such step."""
    step, (last,) = (
        bound["step"] or "",
        connection.execute(STEPS, {"checkpoint": bound["checkpoint"]}).fetchone() or (None,),
    )
    if last is not None and not (step.isdecimal() and int(step) <= last):
        raise BadInput(f"step={step}: there is no such step; that training's are 0 to {last}")


def bind(question: str, values: Mapping[str, str]) -> tuple[str, dict[str, str | None]]:
    """Find the SQL of a question, and a value for each of its parameters. Raises BadInput as `ask` does, without a database."""
    if not re.fullmatch(r"[\w-]+", question):
        return question, dict(values)
    queries = shipped()
    if question not in queries:
        raise unknown("query", question, queries)
    return queries[question].sql, _filled(queries[question], values)


def _filled(query: Query, values: Mapping[str, str]) -> dict[str, str | None]:
    known = [parameter.name for parameter in query.parameters]
    for name in values:
        if name not in known:
            raise BadInput(
                f"query {query.name} has no parameter {name!r}{nearest(name, known)}. It has: {', '.join(known)}"
            )
    for parameter in query.parameters:
        if parameter.required and parameter.name not in values:
            raise BadInput(f"query {query.name} needs {parameter.name}=...: {parameter.meaning}")
    return {parameter.name: values.get(parameter.name, parameter.default) for parameter in query.parameters}


def _explained(connection: duckdb.DuckDBPyConnection, text: str) -> str:
    """Put the database's complaint into one line; for a missing table, say which there are."""
    missing = re.match(r"Catalog Error: Table with name (\S+) does not exist", text)
    if missing:
        names = connection.execute("SELECT name FROM (SHOW TABLES)").fetchall()
        return str(unknown("table", missing[1], [name for (name,) in names]))
    body, _, pointer = text.partition("\n\nLINE ")
    near = f" (line {pointer.splitlines()[0].strip()})" if pointer else ""
    return " ".join(body.split()) + near
