"""Stage `mix`: decide, with a seed, which records a training stage sees, how often and in which order.

What filters, benchmarks and duplicates leave out, then shares and caps (mix.sql). A record that is left out is kept with
the rule that did it: mix and left_out together are all good records. No record's text or image is changed here.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tinyllava_core.data.mix.contamination import CONTAMINATION_SCHEMA, find_contamination
from tinyllava_core.data.mix.duplicates import DUPLICATES_SCHEMA, find_duplicates
from tinyllava_core.data.mix.filters import run_filters, scores_file
from tinyllava_core.data.mix.tables import add_records, connect, run_sql, write_rows
from tinyllava_core.data.record.record import InspectedSource
from tinyllava_core.errors import BadInput, nearest
from tinyllava_core.results import MixResult
from tinyllava_core.settings.mix import Contamination, Duplicates, MixEntry

VERSION = 2
MIX_SCHEMA = pa.schema(
    [
        ("position", pa.int64()),
        ("record_id", pa.string()),
        ("source", pa.string()),
        ("component", pa.string()),
        ("repeat", pa.int16()),
        ("num_images", pa.int16()),
    ]
)
APART_SCHEMA = MIX_SCHEMA.append(pa.field("question", pa.int16()))  # of the record, from 0; null: all of it
LEFT_OUT_SCHEMA = pa.schema(
    [
        ("record_id", pa.string()),
        ("source", pa.string()),
        ("component", pa.string()),
        ("rule", pa.string()),
        ("value", pa.string()),
    ]
)
_PORTION_SCHEMA = pa.schema(
    [
        ("number", pa.int32()),
        ("source", pa.string()),
        ("component", pa.string()),
        ("share", pa.float64()),
        ("max_records", pa.int64()),
        ("source_max_records", pa.int64()),
        ("one_question", pa.bool_()),
    ]
)


def mix(
    entries: Sequence[tuple[MixEntry, InspectedSource]],
    seed: int,
    out: Path,
    *,
    duplicates: Duplicates = Duplicates(),  # noqa: B008 -- frozen
    contamination: Contamination = Contamination(),  # noqa: B008
    benchmarks: Sequence[Path] = (),
) -> MixResult:
    """Write mix.parquet, left_out.parquet, duplicates.parquet and contamination.parquet.

    The same input and seed give the same bytes, on every machine. `benchmarks`: the folders in which their images.parquet
    lie; without any, nothing can be contaminated. Raises BadInput if a source is named twice, a filter is wrong, a component is unknown, or a source, or a component that
    has a share, gives no record.
    """
    names = [source.name for _, source in entries]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise BadInput(f"mix: source {twice!r} is there twice; name it once and set its share")
    scratch = out / "scratch"
    scores = [scores_file(entry).parent for entry, _ in entries if entry.scores is not None]
    with connect(scratch, [*(source.records for _, source in entries), *benchmarks, *scores]) as connection:
        add_records(connection, [source.records for _, source in entries])
        for entry, source in entries:
            run_filters(connection, entry, source.name)
        _check_components(connection, entries)
        _compare(connection, duplicates, contamination, benchmarks, out)
        connection.register("portion", _portions(entries))
        rows, schema = run_sql(connection, "mix", {"seed": seed}), MIX_SCHEMA
        if any(entry.one_question_per_record for entry, _ in entries):
            rows, schema = run_sql(connection, "questions"), APART_SCHEMA
        write_rows(rows, schema, out / "mix.parquet")
        write_rows(run_sql(connection, "left_out"), LEFT_OUT_SCHEMA, out / "left_out.parquet")
        _check_given(connection, entries)
    shutil.rmtree(scratch, ignore_errors=True)
    return _result(out, len(entries), seed)


def _compare(
    connection: duckdb.DuckDBPyConnection,
    duplicates: Duplicates,
    contamination: Contamination,
    benchmarks: Sequence[Path],
    out: Path,
) -> None:
    """Find contaminated records and duplicates among what filters left, contaminated ones first, and write both tables."""
    looked_for = (contamination.action is not None and bool(benchmarks), duplicates.exact is not None)
    if any(looked_for):
        run_sql(connection, "pictures")
    if looked_for[0]:
        find_contamination(connection, contamination, benchmarks)
    if looked_for[1]:
        find_duplicates(connection, duplicates)
    for there, rows, schema, name in (
        (looked_for[0], "contaminated_rows", CONTAMINATION_SCHEMA, "contamination"),
        (looked_for[1], "duplicate_rows", DUPLICATES_SCHEMA, "duplicates"),
    ):
        path = out / f"{name}.parquet"
        if there:
            write_rows(run_sql(connection, rows), schema, path)
        else:
            pq.write_table(schema.empty_table(), path)


def _portions(entries: Sequence[tuple[MixEntry, InspectedSource]]) -> pa.Table:
    """Lay out what the entries say: a row for the rest of each source, and one for each component that is named."""
    rows: list[dict[str, object]] = []
    for entry, source in sorted(entries, key=lambda pair: pair[1].name):
        same: dict[str, object] = {"source": source.name, "source_max_records": entry.cap}
        same["one_question"] = entry.one_question_per_record
        rows.append(same | {"component": None, "share": entry.share, "max_records": None})
        for name, portion in sorted(entry.components.items()):
            share = entry.share if portion.share is None else portion.share
            rows.append(same | {"component": name, "share": share, "max_records": portion.cap})
    return pa.Table.from_pylist([{"number": number} | row for number, row in enumerate(rows)], _PORTION_SCHEMA)


def _check_components(
    connection: duckdb.DuckDBPyConnection, entries: Sequence[tuple[MixEntry, InspectedSource]]
) -> None:
    """Raise BadInput if a mix names a component that no record of its source has."""
    if not any(entry.components for entry, _ in entries):
        return
    found = connection.execute(
        "SELECT DISTINCT source, component FROM candidate WHERE component IS NOT NULL"
    ).fetchall()
    for entry, source in entries:
        known = sorted(component for of, component in found if of == source.name)
        if strange := next((name for name in entry.components if name not in known), None):
            raise BadInput(
                f"mix: source {entry.source!r} has no component {strange!r}{nearest(strange, known)}. "
                f"It has: {', '.join(known) or 'none; its manifest names them'}"
            )


def _check_given(connection: duckdb.DuckDBPyConnection, entries: Sequence[tuple[MixEntry, InspectedSource]]) -> None:
    """Raise BadInput if a source, or a component with a share of its own, gives not one record."""
    taken = "SELECT DISTINCT source, component FROM copies WHERE left_out_by IS NULL"
    given = connection.execute(taken).fetchall()
    for entry, source in entries:
        if source.name not in {of for of, _ in given}:
            raise BadInput(
                f"mix: share {entry.share:g} of source {source.name!r} is not one record{_why(connection, source.name)}; "
                "raise the share or take the source out"
            )
        for name, portion in entry.components.items():
            if portion.share and (source.name, name) not in given:
                raise BadInput(
                    f"mix: share {portion.share:g} of component {name!r} of source {source.name!r} is not one record"
                    f"{_why(connection, source.name)}; raise the share, or set it to 0"
                )


def _why(connection: duckdb.DuckDBPyConnection, source: str) -> str:
    """Say how many records of a source each rule left out."""
    count = "SELECT rule, count(*) FROM left_out JOIN candidate USING (number) WHERE source = $source GROUP BY 1 ORDER BY 2 DESC, 1"
    rules = connection.execute(count, {"source": source}).fetchall()
    return f" (left out: {', '.join(f'{number} by {rule}' for rule, number in rules)})" if rules else ""


def _result(out: Path, num_sources: int, seed: int) -> MixResult:
    table = pq.read_table(out / "mix.parquet", columns=["record_id", "num_images"])
    return MixResult(
        num_sources=num_sources,
        num_records=table.num_rows,
        num_distinct_records=pc.count_distinct(table["record_id"]).as_py(),
        num_images=pc.sum(table["num_images"]).as_py(),
        num_text_only=pc.sum(pc.equal(table["num_images"], 0)).as_py(),
        num_left_out=pq.read_metadata(out / "left_out.parquet").num_rows,
        num_duplicates=pq.read_metadata(out / "duplicates.parquet").num_rows,
        num_contaminated=pc.count_distinct(pq.read_table(out / "contamination.parquet")["record_id"]).as_py(),
        seed=seed,
    )
