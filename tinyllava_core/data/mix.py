"""Stage `mix`: decide, with a seed, which records a training stage sees, how often and in which order.

The rule is one query, mix.sql. No record's text or image is touched here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from tinyllava_core.data.record import InspectedSource
from tinyllava_core.errors import BadInput
from tinyllava_core.results import MixResult
from tinyllava_core.settings.mix import MixEntry

VERSION = 1
_QUERY = Path(__file__).with_name("mix.sql")
_ENTRY_SCHEMA = pa.schema([("source", pa.string()), ("share", pa.float64()), ("max_records", pa.int64())])
MIX_SCHEMA = pa.schema(
    [
        ("position", pa.int64()),
        ("record_id", pa.string()),
        ("source", pa.string()),
        ("repeat", pa.int16()),
        ("num_images", pa.int16()),
    ]
)


def mix(entries: Sequence[tuple[MixEntry, InspectedSource]], seed: int, out: Path) -> MixResult:
    """Write mix.parquet: the same entries and seed give the same bytes, on every machine.

    Raises BadInput if a source is named twice or gives no record.
    """
    names = [source.name for _, source in entries]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise BadInput(f"mix: source {twice!r} is there twice; name it once and set its share")
    table = _order(entries, seed)
    given = set(pc.unique(table["source"]).to_pylist())
    if empty := next((entry for entry, source in entries if source.name not in given), None):
        raise BadInput(
            f"mix: share {empty.share:g} of source {empty.source!r} is not one record; raise the share or take the source out"
        )
    pq.write_table(table, out / "mix.parquet")
    return MixResult(
        num_sources=len(entries),
        num_records=table.num_rows,
        num_distinct_records=pc.count_distinct(table["record_id"]).as_py(),
        num_images=pc.sum(table["num_images"]).as_py(),
        num_text_only=pc.sum(pc.equal(table["num_images"], 0)).as_py(),
        seed=seed,
    )


def _order(entries: Sequence[tuple[MixEntry, InspectedSource]], seed: int) -> pa.Table:
    rows = [{"source": source.name, "share": entry.share, "max_records": entry.cap} for entry, source in entries]
    files = [str(source.records / "records.parquet") for _, source in entries]
    with duckdb.connect(
        config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    ) as connection:
        connection.register("entry", pa.Table.from_pylist(rows, _ENTRY_SCHEMA))
        connection.register(
            "record", ds.dataset(files, format="parquet")
        )  # a file name may hold what DuckDB takes for a pattern
        result = connection.execute(_QUERY.read_text(encoding="utf-8"), {"seed": seed})
        return result.to_arrow_table().cast(MIX_SCHEMA)
