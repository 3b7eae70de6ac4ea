"""Contamination: records whose pictures are a benchmark's, found by bytes, by pixels, by published ids and by looks.

It says what is there; whether a score is to be trusted without those pictures is another's question (view contamination).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from tinyllava_core.data.mix.near import near_between
from tinyllava_core.data.mix.tables import add_view, run_sql
from tinyllava_core.errors import BadInput
from tinyllava_core.paths import expanded
from tinyllava_core.settings.mix import Contamination

CONTAMINATION_SCHEMA = pa.schema(
    [
        ("record_id", pa.string()),
        ("source", pa.string()),
        ("image", pa.string()),
        ("benchmark", pa.string()),
        ("benchmark_image", pa.string()),
        ("how", pa.string()),
        ("distance", pa.int16()),
        ("dropped", pa.bool_()),
    ]
)
_VG_COCO = pa.schema([("vg_id", pa.int64()), ("coco_id", pa.int64())])


def find_contamination(connection: duckdb.DuckDBPyConnection, asked: Contamination, benchmarks: Sequence[Path]) -> None:
    """Make the table `contaminated` of what is kept so far; add its records to `left_out` if they are to be dropped.

    `benchmarks`: the folders with their images.parquet.
    """
    add_view(connection, "benchmark_image", [folder / "images.parquet" for folder in benchmarks])
    connection.register("vg_coco", vg_coco(asked.vg_image_data))
    run_sql(connection, "contamination", {"ids": asked.ids})
    if asked.max_distance is not None:
        hashes = [
            connection.execute(f"SELECT phash FROM {table} ORDER BY id").fetchnumpy()["phash"]
            for table in ("picture", "asked")
        ]
        pairs = near_between(hashes[0], hashes[1], asked.max_distance)
        connection.register("near", pa.table({"picture": pairs.first, "asked": pairs.second}))
        connection.execute("INSERT INTO match SELECT picture, asked, 'looks', 3 FROM near")
    run_sql(connection, "contaminated", {"dropped": asked.action == "drop"})


def vg_coco(path: str | None) -> pa.Table:
    """Read which Visual Genome picture is which of COCO's, from image_data.json -> vg_id, coco_id.

    Raises BadInput if it is not Visual Genome's file.
    """
    if path is None:
        return _VG_COCO.empty_table()
    try:
        rows = json.loads(expanded(path).read_bytes())
        pairs = [{"vg_id": row["image_id"], "coco_id": row["coco_id"]} for row in rows if row["coco_id"] is not None]
        return pa.Table.from_pylist(pairs, _VG_COCO)
    except OSError as error:
        raise BadInput(f"vg_image_data {path!r}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, pa.ArrowInvalid) as error:
        raise BadInput(
            f"vg_image_data {path!r}: expected Visual Genome's image_data.json, a list of objects with image_id and coco_id; "
            f"{type(error).__name__}: {error}"
        ) from None
