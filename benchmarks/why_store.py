"""What attribution costs beside a training, and at 1.2 million records: `python benchmarks/why_store.py [--records N]`.

Writes a store of made-up gradients as `tinyllava attribute` leaves it (int8, one scale a row) and times the scores of 256 answers by both ways, the tails,
and one `why`, all in CPU seconds of one thread. Run it with
OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tinyllava_core.artifact import Artifact
from tinyllava_core.attribute.narrow import multiply
from tinyllava_core.attribute.store import write
from tinyllava_core.why import ends, scores
from tinyllava_core.why.said import why

NUMBERS, QUESTIONS, PART = 1536, 256, 65536
ASKED = 5000  # answers of a whole suite of benchmarks


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=1_200_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        chance = np.random.default_rng(0)
        for first in range(0, given.records, PART):
            names = [f"r{place:08d}" for place in range(first, min(first + PART, given.records))]
            columns = {"record_id": names, "source": [f"s{place % 8}" for place in range(len(names))]}
            write(gradients(columns, chance), home / f"records-{first:08d}.parquet")
        told = {"benchmark": ["made-up"] * QUESTIONS, "question_id": [str(place) for place in range(QUESTIONS)]}
        asked = gradients(told, chance)
        files = scores.files(home)
        size = sum(file.stat().st_size for file in files)
        print(f"{given.records:,} records, {size / 1e9:.2f} GB; CPU seconds of one thread")
        kernel = timed("kernel", lambda: scores.kernel_of(files, 1.0))
        parts: list[tuple[pa.Table, scores.Scores]] = timed(
            f"scores of {QUESTIONS} answers", lambda: list(scores.some_at_once(files, asked, kernel, multiply()))
        )
        timed("the same in float32", lambda: list(scores.some_at_once(files, asked, kernel)))
        tails = timed("their tails", lambda: [ends.tails(found, some, kernel, files) for some, found in parts])
        timed("their sums", lambda: [scores.groups(found, some) for some, found in parts])
        ask_one(home, pa.concat_tables(tails))
    return 0


def gradients(columns: dict[str, list[str]], chance: np.random.Generator) -> pa.Table:
    """Make rows of int8."""
    count = len(next(iter(columns.values())))
    small = chance.integers(-127, 128, (count, NUMBERS), dtype=np.int8)
    cells = pa.FixedSizeBinaryArray.from_buffers(pa.binary(NUMBERS), count, [None, pa.py_buffer(small.tobytes())])
    scale = pa.array(chance.random(count, dtype=np.float32))
    norm = pa.array(np.linalg.norm(small.astype(np.float32), axis=1) * scale.to_numpy())
    return (
        pa.table(columns)
        .append_column("head_norm", norm)
        .append_column("head_scale", scale)
        .append_column("head", cells)
    )


def ask_one(home: Path, tails: pa.Table) -> None:
    """Time `why` for one of 5,000 answers with 200 records each."""
    times = ASKED // QUESTIONS + 1
    ids = np.repeat(np.arange(ASKED), 2 * ends.TAIL).astype(str)
    many = pa.concat_tables([tails] * times).slice(0, len(ids))
    many = many.set_column(many.schema.get_field_index("question_id"), "question_id", pa.array(ids))
    pq.write_table(many, home / "attributions.parquet", compression="zstd")
    told = {
        "benchmark": ["made-up"] * ASKED,
        "question_id": [str(place) for place in range(ASKED)],
        "text": ["?"] * ASKED,
    }
    told |= {"answer": ["yes"] * ASKED, "was_right": [True] * ASKED, "loss": [0.5] * ASKED}
    pq.write_table(pa.table(told), home / "questions.parquet")
    (home / "result.json").write_text('{"inputs": {"checkpoint": "cafe"}}')
    store = Artifact(stage="attribute", fingerprint="ab12", folder=home)
    timed("why, one of 5,000 answers", lambda: why(store, [], "made-up", "4711", 5))


def timed(what: str, do: Callable[[], Any]) -> Any:
    """Print the CPU seconds of a call."""
    started = time.process_time()
    found = do()
    print(f"{what:<28} {time.process_time() - started:8.2f}", flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
