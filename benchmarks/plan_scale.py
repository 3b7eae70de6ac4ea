"""The layout of a plan at the size of the share recipe's second stage: seconds and memory, the tokens already counted.

`python benchmarks/plan_scale.py [--records 1229257]`.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from made_up_data import table

from tinyllava_core.data.plan.part import LENGTHS_SCHEMA, PlanSpec, PlanWork
from tinyllava_core.data.plan.plan import merge, prepare
from tinyllava_core.data.shard.part import INDEX_SCHEMA

PER_TAR = 12_000  # records of a tar of 1 GB


def main() -> None:
    """Write an index and the counted tokens, then lay all steps out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=1_229_257)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shards, out = Path(folder) / "shards", Path(folder) / "plan"
        shards.mkdir()
        write_index(shards, given.records)
        work = prepare(shards, spec(), out)
        write_lengths(work)
        before, started = peak_gb(), time.process_time()
        result = merge(work)
        seconds = time.process_time() - started
        size = (out / "plan.parquet").stat().st_size / 1e6
        row = (
            f"{result.num_records:,}",
            f"{result.num_steps:,}",
            f"{result.num_packs:,}",
            f"{seconds:.1f}",
            f"{peak_gb():.2f}",
            f"{before:.2f}",
            f"{size:.1f}",
        )
        table(("records", "steps", "packs", "CPU s", "peak GB", "of it before", "plan.parquet, MB"), [row])


def spec() -> PlanSpec:
    """Say what share's second stage says."""
    return PlanSpec(
        stage="second_pretrain",
        tokenizer="toy-llama",
        tokenizer_sha256="",
        tokens_per_image=729,
        prompt="plain",
        max_length=3072,
        pack_length=8192,
        global_batch=256,
        epochs=1,
        group_by=None,
        seed=0,
    )


def write_index(shards: Path, count: int) -> None:
    """Write an index as stage shard does, a tar's rows at a time."""
    with pq.ParquetWriter(shards / "index.parquet", INDEX_SCHEMA) as index:
        for shard, first in enumerate(range(0, count, PER_TAR)):
            positions = np.arange(first, min(first + PER_TAR, count))
            rows = len(positions)
            columns = {
                "position": positions,
                "shard": np.full(rows, shard),
                "place": positions - first,
                "key": [f"{position:09d}" for position in positions],
                "record_id": [f"sharegpt4v-pretrain-1246k-{position:08d}" for position in positions],
                "source": ["sharegpt4v-pretrain-1246k"] * rows,
                "num_images": np.ones(rows),
                "json_offset": positions,
                "json_size": np.full(rows, 900),
                "json_sha256": [f"{position:064d}" for position in positions],
                "image_offsets": [[1]] * rows,
                "image_sizes": [[1]] * rows,
                "image_sha256": [[f"{position:064d}"] for position in positions],
                "image_fields": [["jpg"]] * rows,
                "image_transforms": [[None]] * rows,
                "stored_sha256": [[None]] * rows,
            }
            arrays = {field.name: pa.array(columns[field.name]).cast(field.type) for field in INDEX_SCHEMA}
            index.write_table(pa.table(arrays, INDEX_SCHEMA))


def write_lengths(work: PlanWork) -> None:
    """Write the counted tokens of every tar: an image and a long caption each."""
    rng = np.random.default_rng(0)
    for number in range(len(work.first_rows) - 1):
        rows = np.arange(work.first_rows[number], work.first_rows[number + 1])
        words = rng.lognormal(5.1, 0.4, len(rows)).astype(np.int32)
        columns = {
            "row": rows,
            "num_tokens": 730 + words,
            "num_supervised": words,
            "truncated": np.zeros(len(rows), bool),
            "reason": pa.array([None] * len(rows), LENGTHS_SCHEMA.field("reason").type),
        }
        pq.write_table(pa.table(columns, LENGTHS_SCHEMA), work.part(number))


def peak_gb() -> float:
    """Give the most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    main()
