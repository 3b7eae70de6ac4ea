"""Count the tokens of one tar's records. A part is a function of the shards, the spec and its number: any worker may do any.

The tokens themselves are not kept: training reads and tokenizes each record again when its turn comes.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import SerializerFunctionWrapHandler, model_serializer

from tinyllava_core.artifact import aside_of
from tinyllava_core.data.plan.order import GroupBy
from tinyllava_core.data.plan.picture_ids import picture_ids, tiles_of
from tinyllava_core.data.plan.prompt import Encoded, encode
from tinyllava_core.data.record.record import Turn
from tinyllava_core.data.shard.read import ShardReader
from tinyllava_core.durable import publish
from tinyllava_core.frozen import Frozen
from tinyllava_core.parts import language_row, tokenizer_folder
from tinyllava_core.parts.picture import Scheme
from tinyllava_core.settings.writing import Writing
from tinyllava_core.tokenizer import Tokenizer, load_tokenizer

_CHUNK = 1000  # records tokenized in one call
LENGTHS_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),  # of index.parquet
        ("num_tokens", pa.int32()),
        ("num_supervised", pa.int32()),
        ("num_tiles", pa.int32()),
        ("truncated", pa.bool_()),
        ("reason", pa.dictionary(pa.int8(), pa.string())),  # null: can be trained on
    ]
)


_KEPT = ("num_tokens", "num_supervised", "num_tiles", "truncated")  # of records that can be trained on


class PlanSpec(Frozen):
    """Everything besides the shards that decides a plan."""

    stage: str
    tokenizer: str  # folder or hub name, as the language model's row gives it
    tokenizer_sha256: str
    tokens_per_image: int
    scheme: Scheme | None = None  # None: every image is so many tokens, whatever its size
    max_record_tiles: int | None = None
    prompt: str
    writing: Writing = Writing()
    max_length: int
    pack_length: int
    global_batch: int
    epochs: int
    group_by: GroupBy | None
    held_out: int = 0
    order: int = 0
    sorted_sha256: str | None = None  # of the numbers that the records are sorted by
    void_sha256: str | None = None  # of the record ids that weigh nothing, sorted, one a line
    seed: int

    @model_serializer(mode="wrap")
    def _as_it_always_was(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A plan in the mix's own order with nothing voided is the one it was before there were these fields."""
        return {
            key: value
            for key, value in dump(self).items()
            if value or key not in ("order", "sorted_sha256", "void_sha256")
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanWork:
    """What every worker needs to count any tar's tokens."""

    shards: Path
    spec: PlanSpec
    out: Path
    first_rows: tuple[int, ...]  # row of index.parquet where each tar's records begin, then the number of rows

    def part(self, number: int) -> Path:
        """Name the file of one tar's lengths."""
        return self.out / "parts" / f"lengths-{number:06d}.parquet"


def plan_part(work: PlanWork, number: int) -> Path:
    """Write how many tokens each record of one tar has, aside and then renamed; give the file. What is there is kept."""
    path, start, stop = work.part(number), work.first_rows[number], work.first_rows[number + 1]
    if path.is_file() and pq.read_metadata(path).num_rows == stop - start:
        return path
    # Alone, the tokenizer has its threads; beside others, each process is one.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", str(multiprocessing.parent_process() is None).lower())
    reader = ShardReader(work.shards, first_row=start, stop_row=stop)
    tokenizer = tokenizer_of(work.spec)
    with pq.ParquetWriter(aside := aside_of(path), LENGTHS_SCHEMA) as writer:
        for first in range(start, stop, _CHUNK):
            rows = range(first, min(first + _CHUNK, stop))
            writer.write_table(lengths(reader, rows, work.spec, tokenizer))
    publish(aside, path)
    return path


def lengths(reader: ShardReader, rows: range, spec: PlanSpec, tokenizer: Tokenizer) -> pa.Table:
    """Tokenize records once -> a row each: how long it is, cut to `max_length`, or why it cannot be trained on."""
    turns, sizes = zip(*map(reader.told, rows), strict=True)
    found: dict[str, list[object]] = {name: [] for name in LENGTHS_SCHEMA.names}
    for row, item, mine in zip(rows, encoded(turns, sizes, spec, tokenizer), sizes, strict=True):
        kept, num_tiles = item.cut(spec.max_length), tiles_of(spec.scheme, mine)
        values = (
            row,
            len(kept.ids),
            kept.num_supervised,
            num_tiles,
            len(item.ids) > spec.max_length,
            voided(item, len(mine), num_tiles, spec),
        )
        for column, value in zip(found.values(), values, strict=True):
            column.append(value)
    return pa.table(found, LENGTHS_SCHEMA)


def encoded(
    turns: Sequence[Sequence[Turn]], sizes: Sequence[Sequence[tuple[int, int]]], spec: PlanSpec, tokenizer: Tokenizer
) -> list[Encoded]:
    """Write records as the plan counts them; `sizes`: (width, height) of the pictures of each."""
    images = (
        spec.tokens_per_image if spec.scheme is None else [picture_ids(spec.scheme, one, tokenizer) for one in sizes]
    )
    return encode(turns, spec.prompt, tokenizer, images, spec.writing)


def voided(item: Encoded, num_images: int, num_tiles: int, spec: PlanSpec) -> str | None:
    """Say why a record cannot be trained on. Its places for images are counted here, before a GPU would stumble over them."""
    if len(item.image_ends) != num_images:
        return "image_places_mismatch"
    if spec.max_record_tiles is not None and num_tiles > spec.max_record_tiles:
        return "too_many_tiles"
    return item.voided(spec.max_length)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """What tokenizing told about the records of the shards that can be trained on, column by column, and about the others."""

    rows: np.ndarray  # of index.parquet
    num_tokens: np.ndarray
    num_supervised: np.ndarray
    num_tiles: np.ndarray  # that the encoder runs on
    truncated: np.ndarray
    voided_rows: np.ndarray
    voided_reasons: pa.Array

    def only(self, which: np.ndarray) -> Lengths:
        """Give some of the records that can be trained on, by a mask."""
        kept = {name: getattr(self, name)[which] for name in ("rows", *_KEPT)}
        return replace(self, **kept)


def read_lengths(work: PlanWork) -> Lengths:
    """Put the parts together, in order."""
    numbers = range(len(work.first_rows) - 1)
    table = pa.concat_tables([pq.read_table(work.part(number)) for number in numbers]).unify_dictionaries()
    good = table["reason"].is_null()
    kept, voided = table.filter(good), table.filter(pa.compute.invert(good))
    columns = {name: kept[name].to_numpy() for name in _KEPT}
    return Lengths(
        rows=kept["row"].to_numpy(),
        voided_rows=voided["row"].to_numpy(),
        voided_reasons=voided["reason"].cast(pa.string()).combine_chunks(),
        **columns,
    )


def tokenizer_of(spec: PlanSpec) -> Tokenizer:
    """Give the tokenizer that a plan counts with, the scheme's marks in it."""
    return _tokenizer(spec.tokenizer, spec.scheme.marks if spec.scheme else ())


@cache
def _tokenizer(language: str, marks: tuple[str, ...]) -> Tokenizer:
    return load_tokenizer(tokenizer_folder(language_row(language)), marks)
