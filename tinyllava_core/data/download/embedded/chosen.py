"""Rows that were chosen of a data set, and their way here: row group by row group, the pictures with them, nothing else.

Stage `choose` writes the table, stage `download` brings what it names. A row group is a unit, as a file is elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tinyllava_core.data.download.embedded.parquet_part import part_rows
from tinyllava_core.errors import BadInput

CHOSEN_SCHEMA = pa.schema(
    [
        ("subset", pa.string()),
        ("file", pa.string()),
        ("row_group", pa.int32()),
        ("size_bytes", pa.int64()),  # of the row group, in the file
        ("rows", pa.list_(pa.int64())),  # of the file, from 0: those that are wanted
    ]
)
TABLE = "chosen.parquet"
_COMMIT = b"commit"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenGroup:
    """A row group of a file, and which of its rows are wanted."""

    subset: str
    file: str
    row_group: int
    size_bytes: int
    rows: tuple[int, ...] = field(repr=False)

    @property
    def digest(self) -> str:
        """Give what changes with the rows."""
        return hashlib.sha256(repr(self.rows).encode()).hexdigest()[:12]

    def taken(self, part: Path) -> Iterator[tuple[int, dict[str, object]]]:
        """Give the wanted rows out of the row group, each with its number. Raises BadInput if one is not there."""
        wanted = set(self.rows)
        for number, row in part_rows(part):
            if number in wanted:
                wanted.remove(number)
                yield number, row
        if wanted:
            raise BadInput(
                f"{self.file}: row {min(wanted)} was chosen and is no longer in row group {self.row_group}: the file has "
                "changed; run again"
            )


def write_chosen(groups: pa.Table, commit: str | None, path: Path) -> None:
    """Write the table of what is chosen. `commit`: of the hub's data set; None: it is a folder."""
    told = {_COMMIT: commit.encode()} if commit else {}
    pq.write_table(groups.cast(CHOSEN_SCHEMA).replace_schema_metadata(told), path)


def read_chosen(path: Path) -> tuple[list[ChosenGroup], str | None]:
    """Read it -> row groups in the order in which they come, the commit."""
    table = pq.read_table(path)
    commit = (table.schema.metadata or {}).get(_COMMIT)
    groups = [ChosenGroup(**row | {"rows": tuple(row["rows"])}) for row in table.to_pylist()]
    return groups, commit.decode() if commit else None


def in_batches(groups: Sequence[ChosenGroup], at_once: int) -> Iterator[Sequence[ChosenGroup]]:
    """Cut what is to come into what comes at once."""
    for start in range(0, len(groups), at_once):
        yield groups[start : start + at_once]
