"""Stage `overlap`: which records of a finished mix say the same as others, or show a benchmark's picture.

It only reports: what is to be dropped is dropped in mix.py, before the shares. So it is an artifact of its own, and another
benchmark to compare with makes no mix, no shard and no training anew.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from tinyllava_core.data.mix.contamination import CONTAMINATION_SCHEMA, find_contamination
from tinyllava_core.data.mix.duplicates import DUPLICATES_SCHEMA, find_duplicates
from tinyllava_core.data.mix.tables import add_records, connect, run_sql, write_rows
from tinyllava_core.results import OverlapResult
from tinyllava_core.settings.mix import Contamination, Duplicates

VERSION = 1
ITSELF, BENCHMARKS = "itself", "benchmarks"


def overlap_itself(mix: Path, inspected: Sequence[Path], asked: Duplicates, out: Path) -> OverlapResult:
    """Write duplicates.parquet: the records of a mix that say the same about the same picture as an earlier one.

    `mix`: the folder of its mix.parquet; `inspected`: those of its sources.
    """
    scratch = out / "scratch"
    with connect(scratch, [mix, *inspected]) as connection:
        add_records(connection, inspected)
        run_sql(connection, "only_mixed", {"mix": str(mix / "mix.parquet")})
        run_sql(connection, "pictures")
        find_duplicates(connection, asked)
        write_rows(run_sql(connection, "duplicate_rows"), DUPLICATES_SCHEMA, out / "duplicates.parquet")
    shutil.rmtree(scratch, ignore_errors=True)
    return _result(ITSELF, out / "duplicates.parquet")


def overlap_benchmarks(
    mix: Path, inspected: Sequence[Path], asked: Contamination, benchmarks: Sequence[Path], out: Path
) -> OverlapResult:
    """Write contamination.parquet: the records of a mix that show a benchmark's picture. `benchmarks`: their inspect folders."""
    scratch = out / "scratch"
    with connect(scratch, [mix, *inspected, *benchmarks]) as connection:
        add_records(connection, inspected)
        run_sql(connection, "only_mixed", {"mix": str(mix / "mix.parquet")})
        run_sql(connection, "pictures")
        find_contamination(connection, asked, benchmarks)
        write_rows(run_sql(connection, "contaminated_rows"), CONTAMINATION_SCHEMA, out / "contamination.parquet")
    shutil.rmtree(scratch, ignore_errors=True)
    return _result(BENCHMARKS, out / "contamination.parquet")


def _result(against: str, table: Path) -> OverlapResult:
    records = pq.read_table(table, columns=["record_id"])["record_id"]
    return OverlapResult(against=against, num_records=pc.count_distinct(records).as_py(), num_pairs=len(records))
