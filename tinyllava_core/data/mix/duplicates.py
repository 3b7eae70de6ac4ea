"""Duplicates: records that say the same about the same picture, or about pictures that look the same.

The first in the canonical order (of record ids) stays, whatever the seed. Near-duplicate *text* is not looked for.
"""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa

from tinyllava_core.data.mix.near import near_within
from tinyllava_core.data.mix.tables import run_sql
from tinyllava_core.settings.mix import Duplicates

DUPLICATES_SCHEMA = pa.schema(
    [
        ("record_id", pa.string()),
        ("source", pa.string()),
        ("first_record_id", pa.string()),
        ("how", pa.string()),
        ("distance", pa.int16()),
        ("dropped", pa.bool_()),
    ]
)


def find_duplicates(connection: duckdb.DuckDBPyConnection, asked: Duplicates) -> None:
    """Make the table `duplicate` of what is kept so far; add those that are to be dropped to `left_out`."""
    run_sql(connection, "duplicates", {"within": asked.within})
    if asked.near is not None:
        near = _near(connection, asked.max_distance)
        connection.register("near", near)
        connection.execute("INSERT INTO duplicate SELECT number, first, 'near', distance FROM near")
        connection.unregister("near")
    connection.execute("DROP TABLE twin")
    dropped = [how for how, action in (("exact", asked.exact), ("near", asked.near)) if action == "drop"]
    connection.execute("ALTER TABLE duplicate ADD COLUMN dropped BOOLEAN")
    connection.execute("UPDATE duplicate SET dropped = list_contains($dropped, how)", {"dropped": dropped})
    run_sql(connection, "duplicates_left_out")


def _near(connection: duckdb.DuckDBPyConnection, max_distance: int) -> pa.Table:
    """Find the near duplicates among the firsts of the exact ones -> number, first, distance.

    A record is one of the first earlier record that looks the same and is none itself. Of several pictures, each must look
    the same as the one in its place; the first one's distance is told.
    """
    rows = run_sql(connection, "near_candidates").fetchnumpy()
    starts = np.flatnonzero(rows["place"] == 1)
    numbers, hashes = rows["number"][starts], rows["phash"]
    lengths = np.diff([*starts.tolist(), len(hashes)])
    pairs = near_within(rows["same_text"][starts].astype(np.int64), hashes[starts], max_distance)
    first_of: dict[int, tuple[int, int]] = {}
    for later in np.lexsort((pairs.first, pairs.second)).tolist():
        a, b = int(pairs.first[later]), int(pairs.second[later])
        if a in first_of or b in first_of:
            continue
        rest_a, rest_b = (hashes[starts[one] + 1 : starts[one] + lengths[one]] for one in (a, b))
        if (np.bitwise_count(rest_a ^ rest_b) <= max_distance).all():
            first_of[b] = (a, int(pairs.distance[later]))
    found = [(int(numbers[b]), int(numbers[a]), distance) for b, (a, distance) in first_of.items()]
    columns = list(zip(*found, strict=True)) or [(), (), ()]
    kinds = (("number", pa.int64()), ("first", pa.int64()), ("distance", pa.int16()))
    return pa.table({name: pa.array(column, kind) for (name, kind), column in zip(kinds, columns, strict=True)})
