"""A part of a Parquet file as a small file of its own: all rows without their pictures, or some row groups whole.

Of the file it is taken from, on this disk or behind a hub's ranges, nothing else is read. It judges no row.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tinyllava_core.artifact import aside_of
from tinyllava_core.data.download.embedded.rows import BUFFER_BYTES, batch_rows, rows
from tinyllava_core.durable import publish
from tinyllava_core.errors import BadInput

_TOLD = b"tinyllava"
_NO_PICTURE = b""  # stands in a row for bytes that were not read


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One row group of a Parquet file."""

    group: int
    first_row: int  # of the file, from 0
    num_rows: int
    size_bytes: int  # of all its columns, as the file holds them


@dataclass(frozen=True, slots=True, kw_only=True)
class Few:
    """Some row groups that stand for all: by a seed, until so many rows are there, two of them at least."""

    rows: int
    seed: int

    def of(self, groups: Sequence[Group]) -> list[Group]:
        """Take them, in the file's order."""
        taken, num_rows = list[Group](), 0
        for at in np.random.default_rng(self.seed).permutation(len(groups)).tolist():
            if num_rows >= self.rows and len(taken) > 1:
                break
            taken.append(groups[at])
            num_rows += groups[at].num_rows
        return sorted(taken, key=lambda group: group.group)


@dataclass(frozen=True, slots=True)
class _Leaf:
    """One column of values at the bottom of a row."""

    keys: tuple[str, ...]  # the fields that lead to it, lists passed through
    is_bytes: bool
    in_list: bool


def write_part(
    source: Path | BinaryIO, into: Path, groups: Sequence[int] | None = None, few: Few | None = None
) -> None:
    """Write the given row groups of `source` to `into`, whole; or all of them (None), or `few`, without the bytes that rows hold.

    `into` appears when it is done. Raises BadInput if `source` is no Parquet, or the number of a row's pictures cannot be told
    without reading them; whatever reading raises.
    """
    text = groups is None
    into.parent.mkdir(parents=True, exist_ok=True)
    try:
        with pq.ParquetFile(source, pre_buffer=text, buffer_size=0 if text else BUFFER_BYTES) as file:
            known = _groups(file.metadata)
            wanted = [known[number] for number in groups] if groups is not None else few.of(known) if few else known
            leaves = list(_leaves(file.schema_arrow))
            unread = [leaf for leaf in leaves if leaf.is_bytes] if text else []
            _check_told(unread, leaves)
            columns = [
                file.schema.column(at).path for at, leaf in enumerate(leaves) if leaf not in unread
            ]  # Arrow's leaves come in Parquet's order
            told = {"groups": [_plain(one) for one in wanted], "unread": [leaf.keys for leaf in unread]}
            told |= {"whole": (file.metadata.num_rows, len(known))}
            _copy(file, wanted, columns, told, into)
    except pa.ArrowInvalid as error:
        raise BadInput(f"{into.name}: not a readable Parquet file: {' '.join(str(error).split()):.160}") from None


def groups_of(part: Path) -> list[Group]:
    """Tell which row groups a part was taken from."""
    return [Group(**one) for one in _told(part)["groups"]]


def whole_of(part: Path) -> tuple[int, int]:
    """Tell how large the file was that a part was taken from -> rows, row groups."""
    num_rows, num_groups = _told(part)["whole"]
    return num_rows, num_groups


def part_rows(part: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Give the rows of a part, each with its number in the file that it was taken from; unread bytes are there, and empty."""
    told = _told(part)
    numbers = (number for group in groups_of(part) for number in _range(group))
    for number, row in zip(numbers, rows(part), strict=True):
        for keys in told["unread"]:
            _fill(row, keys)
        yield number, row


def _copy(file: pq.ParquetFile, wanted: Sequence[Group], columns: list[str], told: dict[str, Any], into: Path) -> None:
    aside = aside_of(into)
    schema = file.read_row_groups([], columns=columns).schema
    with pq.ParquetWriter(aside, schema, compression="zstd") as writer:
        writer.add_key_value_metadata({_TOLD: json.dumps(told).encode()})
        for group in wanted:
            size = batch_rows(file.metadata.row_group(group.group))
            for batch in file.iter_batches(size, row_groups=[group.group], columns=columns):
                writer.write_batch(batch)
    publish(aside, into)


def _groups(metadata: pq.FileMetaData) -> list[Group]:
    found, first = list[Group](), 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        size = sum(group.column(at).total_compressed_size for at in range(group.num_columns))
        found.append(Group(group=number, first_row=first, num_rows=group.num_rows, size_bytes=size))
        first += group.num_rows
    return found


def _plain(group: Group) -> dict[str, int]:
    return {name: getattr(group, name) for name in ("group", "first_row", "num_rows", "size_bytes")}


def _range(group: Group) -> range:
    return range(group.first_row, group.first_row + group.num_rows)


def _told(part: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(pq.read_metadata(part).metadata[_TOLD])
    return found


def _leaves(schema: pa.Schema) -> Iterator[_Leaf]:
    """List the columns of values, in the order in which Parquet stores them."""
    for field in schema:
        yield from _below(field.type, (field.name,), False)


def _below(kind: pa.DataType, keys: tuple[str, ...], in_list: bool) -> Iterator[_Leaf]:
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if pa.types.is_struct(kind):
        for number in range(kind.num_fields):
            yield from _below(kind.field(number).type, (*keys, kind.field(number).name), in_list)
    elif pa.types.is_map(kind):
        for inner in (kind.key_type, kind.item_type):
            yield from (_Leaf(leaf.keys, False, True) for leaf in _below(inner, keys, True))
    elif hasattr(kind, "value_type") and not pa.types.is_dictionary(kind):
        yield from _below(kind.value_type, keys, True)
    else:
        yield _Leaf(keys, _is_bytes(kind), in_list)


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _check_told(unread: Sequence[_Leaf], leaves: Sequence[_Leaf]) -> None:
    """Raise BadInput where a list holds nothing but bytes: without reading them, nobody knows how many there are."""
    for leaf in unread:
        beside = (
            other for other in leaves if not other.is_bytes and other.keys[: len(leaf.keys) - 1] == leaf.keys[:-1]
        )
        if leaf.in_list and (len(leaf.keys) == 1 or next(beside, None) is None):
            raise BadInput(
                f"column {leaf.keys[0]!r} is a list of bytes alone, whose number is not known before they are read: nothing can be "
                "chosen of such a file; leave `choose` out"
            )


def _fill(value: Any, keys: Sequence[str]) -> None:
    """Put empty bytes where unread ones were; a structure that is null stays so."""
    if isinstance(value, list):
        for one in value:
            _fill(one, keys)
    elif isinstance(value, dict):
        if len(keys) == 1:
            value[keys[0]] = _NO_PICTURE
        elif keys[0] in value:
            _fill(value[keys[0]], keys[1:])
        else:  # all that it holds is bytes
            value[keys[0]] = {}
            _fill(value[keys[0]], keys[1:])
