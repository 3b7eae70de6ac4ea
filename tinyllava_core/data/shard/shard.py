"""Stage `shard`: write one mix, in its order, as WebDataset tars with an index of every member's offset.

The same mix gives the same bytes, on any number of workers: the cuts are decided beforehand (shard_cut.py), each tar is
written on its own (shard_part.py), and the index is put together in order. It decides nothing about order.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tinyllava_core.data.record.record import InspectedSource
from tinyllava_core.data.shard.card import write_card
from tinyllava_core.data.shard.cut import cut, record_sizes
from tinyllava_core.data.shard.lookup import lay_out
from tinyllava_core.data.shard.part import (
    INDEX_SCHEMA,
    Layout,
    questions,
    source_numbers,
    source_rows,
    tar_facts,
    write_part,
)
from tinyllava_core.data.shard.question import WHOLE
from tinyllava_core.data.web import remote
from tinyllava_core.data.web.tar_store import url_of
from tinyllava_core.errors import BadInput
from tinyllava_core.job import Progress
from tinyllava_core.results import ShardResult
from tinyllava_core.settings.shard import Shard
from tinyllava_core.workers import RunParts, num_cpus, run_parts

VERSION = 4
SHARDS_SCHEMA = pa.schema(
    [
        ("shard", pa.int32()),
        ("name", pa.string()),
        ("size_bytes", pa.int64()),
        ("sha256", pa.string()),
        ("num_records", pa.int64()),
        ("url", pa.string()),  # null: in this folder
    ]
)
_WORTH_A_PROCESS = 64_000_000  # bytes of tars; less is written sooner than a process has started


def shard(
    mixed: Path,
    sources: Sequence[InspectedSource],
    settings: Shard,
    out: Path,
    *,
    processes: int | None = None,
    run_parts: RunParts = run_parts,
    on_progress: Callable[[Progress], None] | None = None,
) -> ShardResult:
    """Write shard-000000.tar ..., index.parquet, shards.parquet and README.md of the mix in the artifact folder `mixed`.

    With settings.store the tars are in the store, and shards.parquet has their URLs.
    `out` may hold what a killed life left: tars that are whole are kept. `processes`: None for as many as there are cores,
    and work for. Raises BadInput, naming the file, if an image is gone or is not the one that was inspected.
    """
    layout, sizes = prepare(mixed, sources, settings, out)
    if processes is None:
        processes = min(num_cpus(), 1 + int(sizes.sum()) // _WORTH_A_PROCESS)
    done, total = 0, layout.starts[-1]
    for number, _ in run_parts(partial(write_part, layout), range(layout.num_parts), processes):
        done += layout.starts[number + 1] - layout.starts[number]
        if on_progress:
            on_progress(Progress(done=done, total=total, unit="records", note=layout.tar(number).name))
    return merge(layout)


def prepare(mixed: Path, sources: Sequence[InspectedSource], settings: Shard, out: Path) -> tuple[Layout, np.ndarray]:
    """Lay the sources' records out for reading in any order, and cut the mix -> the layout, each record's estimated bytes."""
    if settings.store is not None:
        remote.exists(settings.store)  # what is missing to reach it is told now, not after the first tar
    table = _mixed(mixed / "mix.parquet")
    _all_known(table, {source.name for source in sources})
    scratch = out / "scratch"
    try:
        return _laid_out(table, sources, settings, out, scratch)
    except BaseException:  # a full disk, say: it is laid out anew at each start, and takes room
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def _laid_out(
    table: pa.Table, sources: Sequence[InspectedSource], settings: Shard, out: Path, scratch: Path
) -> tuple[Layout, np.ndarray]:
    for folder in (scratch, out / "parts"):
        folder.mkdir(parents=True, exist_ok=True)
    for left in scratch.glob(".*.partial"):  # by workers that were killed
        left.unlink()
    numbers = np.empty(table.num_rows, np.int16)
    rows, sizes, picture_sizes = (np.empty(table.num_rows, np.int64) for _ in range(3))
    for number, source in enumerate(sources):
        laid_out = lay_out(source.name, source.records, scratch / f"{source.name}.arrow")
        mine = pc.equal(table["source"], source.name)
        places = mine.to_numpy()
        numbers[places], rows[places] = number, laid_out.rows(pc.filter(table["record_id"], mine))
        theirs, of_pictures = record_sizes(laid_out, settings.max_side)
        sizes[places], picture_sizes[places] = theirs[rows[places]], of_pictures[rows[places]]
    if settings.pictures_once:
        again = np.append(
            False, (numbers[1:] == numbers[:-1]) & (rows[1:] == rows[:-1])
        )  # another question of the same record
        sizes[again] -= picture_sizes[again]
    np.save(source_numbers(scratch), numbers)
    np.save(source_rows(scratch), rows)
    np.save(questions(scratch), pc.fill_null(table["question"], WHOLE).to_numpy())
    layout = Layout(
        sources=tuple(sources),
        scratch=scratch,
        out=out,
        starts=tuple(cut(sizes, settings.records_per_shard, settings.size_bytes).tolist()),
        max_side=settings.max_side,
        pictures_once=settings.pictures_once,
        store=settings.store,
    )
    return layout, sizes


def merge(layout: Layout) -> ShardResult:
    """Put the parts of the index together, in order, describe the whole, and take the scaffolding away."""
    parts = [layout.part(number) for number in range(layout.num_parts)]
    with pq.ParquetWriter(layout.out / "index.parquet", INDEX_SCHEMA) as index:
        for part in parts:
            index.write_table(pq.read_table(part).replace_schema_metadata(None))
    facts = [tar_facts(part) for part in parts]
    columns = {
        "shard": np.arange(layout.num_parts),
        "name": [layout.tar(number).name for number in range(layout.num_parts)],
        "size_bytes": [size for _, size in facts],
        "sha256": [sha256 for sha256, _ in facts],
        "num_records": np.diff(layout.starts),
        "url": [url_of(layout.store, sha256) if layout.store else None for sha256, _ in facts],
    }
    pq.write_table(pa.table(columns, SHARDS_SCHEMA), layout.out / "shards.parquet")
    write_card(layout.out, layout.store, layout.pictures_once)
    for scaffolding in (layout.scratch, layout.out / "parts"):
        shutil.rmtree(scaffolding)
    return ShardResult(
        num_shards=layout.num_parts,
        num_records=layout.starts[-1],
        size_bytes=sum(size for _, size in facts),
        sha256=hashlib.sha256("".join(sha256 for sha256, _ in facts).encode()).hexdigest(),
    )


def _mixed(path: Path) -> pa.Table:
    """Read a mix -> record_id, source and question; null: all of the record."""
    columns = ["record_id", "source", "question"]
    table = pq.read_table(path, columns=[name for name in columns if name in pq.read_schema(path).names])
    if "question" in table.column_names:
        return table
    return table.append_column("question", pa.nulls(table.num_rows, pa.int16()))


def _all_known(table: pa.Table, known: Iterable[str]) -> None:
    unknown = set(pc.unique(table["source"]).to_pylist()) - set(known)
    if unknown:
        raise BadInput(
            f"the mix holds records of {', '.join(sorted(unknown))}; shard was given {', '.join(sorted(known))}"
        )
