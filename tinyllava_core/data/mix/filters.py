"""Filters: SQL conditions that a recipe sets on the records of a source. They are read and checked here, and run in mix.py.

A condition is data that somebody wrote: DuckDB parses it, and its parse tree may hold nothing but declared columns,
constants, operators and the functions listed below. So it reads no file, no table and no setting, and gives the same
answer on every machine; and the connection on which it runs reaches no file but the mix's own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from tinyllava_core.data.mix.tables import as_literal, as_name, as_text, connect, described_columns
from tinyllava_core.errors import BadInput, is_no_text, nearest
from tinyllava_core.paths import expanded
from tinyllava_core.settings.mix import MixEntry

OPERATORS = frozenset(["+", "-", "*", "/", "//", "%", "||", "~~", "!~~", "~~*", "!~~*", "~~~"])
FUNCTIONS = frozenset({
    "abs", "bit_count", "ceil", "char_length", "character_length", "concat", "concat_ws", "contains", "ends_with", "exp",
    "floor", "greatest", "ilike_escape", "instr", "isfinite", "isnan", "jaccard", "least", "left", "len", "length",
    "levenshtein", "like_escape", "list_contains", "list_distinct", "list_extract", "list_has", "list_has_all",
    "list_has_any", "list_max", "list_min", "list_value", "ln", "log", "lower", "ltrim", "not_ilike_escape",
    "not_like_escape", "pow", "prefix", "regexp_extract", "regexp_full_match", "regexp_matches", "regexp_replace",
    "replace", "reverse", "right", "round", "rtrim", "sign", "split_part", "sqrt", "starts_with", "string_split",
    "strip_accents", "strlen", "strpos", "substr", "substring", "suffix", "trim", "upper",
})  # fmt: skip
_PARTS = {"COLUMN_REF", "CONSTANT", "COMPARISON", "CONJUNCTION", "OPERATOR", "FUNCTION", "CAST", "BETWEEN", "CASE"}
_REFUSED = {
    "SUBQUERY": "a subquery",
    "WINDOW": "a window",
    "PARAMETER": "a parameter",
    "LAMBDA": "a lambda",
    "STAR": "a star",
    "COLLATE": "a collation",
}
_CLAUSES = ("modifiers", "where_clause", "group_expressions", "group_sets", "having", "sample", "qualify")
_HOW = "write one condition over a record's columns, such as num_turns <= 40"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """One condition that a record must meet."""

    rule: str  # as the recipe says it
    sql: str  # as DuckDB writes down what it read
    columns: tuple[str, ...]  # that it names, in order


def read_filters(entry: MixEntry) -> list[Filter]:
    """Check a source's filters and its table of scores. Raises BadInput on the first that is wrong, with the nearest column."""
    if not entry.filters:
        return []
    columns = described_columns()
    scores = score_columns(entry.scores, columns) if entry.scores is not None else {}
    with connect() as connection:
        declared = ", ".join(f"{as_name(name)} {kind}" for name, kind in (columns | scores).items())
        connection.execute(f"CREATE TABLE described ({declared})")
        connection.execute("INSERT INTO described (record_id) VALUES (NULL)")  # to run on, so that wrong constants show
        return [_read(connection, rule, list(columns | scores), entry.source) for rule in entry.filters]


def run_filters(connection: duckdb.DuckDBPyConnection, entry: MixEntry, source: str) -> None:
    """Add the records of a source that a filter is not true of to `left_out`, with the first such filter and what it met.

    A condition that gives NULL is not true, as in any SQL. Raises BadInput if a filter is wrong.
    """
    filters = read_filters(entry)
    if not filters:
        return
    failed = " ".join(f"WHEN ({given.sql}) IS NOT TRUE THEN {number}" for number, given in enumerate(filters))
    met = " ".join(f"WHEN {number} THEN {_met(given)}" for number, given in enumerate(filters))
    rules = " ".join(f"WHEN {number} THEN $rule_{number}" for number in range(len(filters)))
    with_scores = f"LEFT JOIN read_parquet({as_literal(scores_file(entry))}) USING (record_id)" if entry.scores else ""
    query = f"""
        INSERT INTO left_out
        SELECT candidate.number, CASE looked_at.failed {rules} END, CASE looked_at.failed {met} END
        FROM (SELECT *, CASE {failed} END AS failed FROM described {with_scores} WHERE source = $source) AS looked_at
        INNER JOIN candidate ON candidate.record_id = looked_at.record_id
        WHERE looked_at.failed IS NOT NULL
    """
    values = {f"rule_{number}": given.rule for number, given in enumerate(filters)} | {"source": source}
    try:
        connection.execute(query, values)
    except (duckdb.ConversionException, duckdb.InvalidInputException, duckdb.OutOfRangeException) as error:
        raise BadInput(
            f"filters of source {entry.source!r}: {_one_line(error)}; TRY_CAST gives NULL where there is no such value"
        ) from None


def scores_file(entry: MixEntry) -> Path:
    """Give the place of an entry's table of scores."""
    assert entry.scores is not None
    return expanded(entry.scores).resolve()


def score_columns(path: str, taken: Mapping[str, str]) -> dict[str, str]:
    """Give the columns that a table of scores adds to a record -> name, SQL type.

    Raises BadInput if it cannot be read, has no record_id, or names a column that a record has already.
    """
    try:
        names = pq.read_schema(expanded(path)).names
    except (OSError, ValueError) as error:
        raise BadInput(f"scores {path!r}: not a readable Parquet file: {' '.join(str(error).split())}") from None
    if "record_id" not in names:
        raise BadInput(f"scores {path!r}: no column record_id; found {', '.join(names)}")
    if clash := next((name for name in names if name.lower() in taken and name != "record_id"), None):
        raise BadInput(f"scores {path!r}: column {clash!r} is a record's own; give it another name")
    file = expanded(path)
    if odd := next((name for name in names if "\0" in name or is_no_text(name)), None):
        raise BadInput(f"scores {path!r}: column {odd!r} is no name for SQL; give it another")
    try:
        with connect(readable=[file.parent]) as connection:
            table = f"read_parquet({as_literal(file)})"
            kinds = {name: kind for name, kind, *_ in connection.execute(f"DESCRIBE SELECT * FROM {table}").fetchall()}
            query = f"SELECT record_id FROM {table} GROUP BY 1 HAVING count(*) > 1 LIMIT 1"
            twice = connection.execute(query).fetchall()
    except duckdb.Error as error:
        raise BadInput(f"scores {path!r}: DuckDB cannot read it: {_one_line(error)}") from None
    if kinds["record_id"] != "VARCHAR":
        raise BadInput(f"scores {path!r}: column record_id is of type {kinds['record_id']}; expected text")
    if twice:
        raise BadInput(f"scores {path!r}: record_id {twice[0][0]!r} is there twice; keep one row for each record")
    return {name: kind for name, kind in kinds.items() if name != "record_id"}


def _read(connection: duckdb.DuckDBPyConnection, rule: str, known: list[str], source: str) -> Filter:
    """Parse, check and bind one condition; the connection has the table `described` and reaches no file."""

    def wrong(what: str) -> BadInput:
        return BadInput(f"filter {rule!r} of source {source!r}: {what}; {_HOW}")

    parsed = json.loads(_one(connection, "SELECT json_serialize_sql($sql)", {"sql": f"SELECT (\n{rule}\n)"}))
    if parsed["error"]:
        raise wrong(" ".join(parsed["error_message"].split()))
    statements = parsed["statements"]
    node = statements[0]["node"]
    alone = len(statements) == 1 and node["type"] == "SELECT_NODE" and len(node["select_list"]) == 1
    extra = [key for key in _CLAUSES if node.get(key)] if alone else []
    if not alone or extra or node["from_table"]["type"] != "EMPTY" or node["cte_map"]["map"]:
        raise wrong("it is more than one condition")
    columns: list[str] = []
    for part in _parts(node["select_list"]):
        if fault := _fault(part, known):
            raise wrong(fault)
        if part["class"] == "COLUMN_REF":
            columns.append(next(name for name in known if name.lower() == part["column_names"][0].lower()))
    sql = _one(connection, "SELECT json_deserialize_sql($parsed)", {"parsed": json.dumps(parsed)}).removeprefix(
        "SELECT "
    )
    if not columns:
        raise wrong("it names no column, so it says the same of every record")
    try:
        connection.execute(f"SELECT {sql} FROM described").fetchall()
        kind = connection.execute(f"DESCRIBE SELECT {sql} FROM described").fetchall()[0][1]
    except duckdb.Error as error:
        raise wrong(_one_line(error)) from None
    if kind != "BOOLEAN":
        raise wrong(f"it gives {kind}, not true or false")
    return Filter(rule=rule, sql=sql, columns=tuple(dict.fromkeys(columns)))


def _fault(part: dict[str, Any], known: list[str]) -> str | None:
    """Say what is wrong with one node of a parse tree."""
    if part["class"] not in _PARTS:
        return f"{_REFUSED.get(part['class'], part['class'].lower())} is not allowed"
    if part["class"] == "COLUMN_REF":
        name = ".".join(part["column_names"])
        if name.lower() not in [column.lower() for column in known]:
            return f"unknown column {name!r}{nearest(name, known)}. Known: {', '.join(known)}"
    if part["class"] == "FUNCTION":
        name = part["function_name"]
        if name not in OPERATORS | FUNCTIONS:
            return f"function {name!r} is not allowed{nearest(name, sorted(FUNCTIONS))}. Allowed: {', '.join(sorted(FUNCTIONS))}"
    return None


def _parts(tree: Any) -> Iterator[dict[str, Any]]:
    """Walk every node of a parse tree that is an expression."""
    if isinstance(tree, dict):
        if "class" in tree:
            yield tree
        for below in tree.values():
            yield from _parts(below)
    elif isinstance(tree, list):
        for below in tree:
            yield from _parts(below)


def _met(given: Filter) -> str:
    """Write the SQL that says the values of a filter's columns, each on at most 100 characters."""
    said = [
        f"{as_text(f'{name} = ')} || coalesce(left(CAST(looked_at.{as_name(name)} AS VARCHAR), 100), 'NULL')"
        for name in given.columns
    ]
    return " || ', ' || ".join(said)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).partition("\n\nLINE")[0].split())


def _one(connection: duckdb.DuckDBPyConnection, sql: str, values: Mapping[str, str]) -> str:
    found: str = connection.execute(sql, values).fetchall()[0][0]
    return found
