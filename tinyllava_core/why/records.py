"""Records as they were trained on, to be shown: their words and small pictures, out of the shards. It chooses none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tinyllava_core.data.inspect.small import small_of
from tinyllava_core.data.record.record import IMAGE_TAG, Turn
from tinyllava_core.data.shard.read import ShardReader

SIDE, QUALITY = 240, 85  # of a shown picture: pixels of its longer side, and of the JPEG


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRecord:
    """One record to look at."""

    record_id: str
    turns: tuple[Turn, ...]
    pictures: tuple[bytes, ...]  # JPEG files

    @property
    def said(self) -> str:
        """Give its answers on one line."""
        return " | ".join(" ".join(turn.text.split()) for turn in self.turns if turn.role == "assistant")

    @property
    def asked(self) -> str:
        """Give its first question on one line, without the picture's mark."""
        first = next((turn.text for turn in self.turns if turn.role == "user"), "")
        return one_line(first)


def one_line(text: str) -> str:
    """Write a turn's text on one line, without the picture's mark."""
    return " ".join(text.replace(IMAGE_TAG, " ").split())


def read(shards: Path, record_ids: Iterable[str], pictures: bool) -> dict[str, ShownRecord]:
    """Read some records out of the shards of a mix, by name; those that are not there are left out."""
    wanted = list(dict.fromkeys(record_ids))
    names = pq.read_table(shards / "index.parquet", columns=["record_id"])["record_id"]
    rows = pc.index_in(pa.array(wanted, pa.string()), names.combine_chunks()).to_pylist()
    reader = ShardReader(shards)
    return {
        name: ShownRecord(
            record_id=name,
            turns=reader.turns(row),
            pictures=tuple(_small(reader.images(row))) if pictures else (),
        )
        for name, row in zip(wanted, rows, strict=True)
        if row is not None
    }


def _small(files: Sequence[bytes]) -> Iterator[bytes]:
    return filter(None, (small_of(file, SIDE, QUALITY) for file in files))
