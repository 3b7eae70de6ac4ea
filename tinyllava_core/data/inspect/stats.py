"""What a source is made of, by component: counted from what stage `inspect` left of it, a batch at a time. It judges nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from tinyllava_core.tokenizer import Tokenizer

_ROWS = 20_000
_COLUMNS = ["component", "num_turns", "num_chars", "num_images", "images", "repairs", "notes"]


@dataclass(slots=True)
class Stats:
    """One component of a source."""

    records: int = 0
    turns: int = 0
    chars: int = 0
    tokens: int = 0  # of the turns' texts, where a tokenizer counted them; without images and prompt format
    duplicates: int = 0  # records that say what an earlier one says, of pictures of the same bytes
    pictures: int = 0  # as often as records name them
    distinct_pictures: int = 0  # by their bytes
    text_only: int = 0
    size_bytes: int = 0  # of the different pictures
    repaired: int = 0
    noted: int = 0
    dropped: Counter[str] = field(default_factory=Counter)  # by reason
    widths: list[np.ndarray] = field(default_factory=list)
    heights: list[np.ndarray] = field(default_factory=list)

    def median_size(self) -> tuple[int, int] | None:
        """Give the median width and height of the pictures; None without any."""
        if not self.pictures:
            return None
        return tuple(int(np.median(np.concatenate(sides))) for sides in (self.widths, self.heights))  # type: ignore[return-value]

    def longest_aspect(self) -> float | None:
        """Give the greatest of longer over shorter side; None without pictures."""
        if not self.pictures:
            return None
        width, height = np.concatenate(self.widths), np.concatenate(self.heights)
        return float((np.maximum(width, height) / np.minimum(width, height)).max())


def count(inspected: Path, tokenizer: Tokenizer | None = None) -> dict[str, Stats]:
    """Count a source's records, good and dropped, by component, the components in the order of their names.

    `tokenizer`: count the tokens of the turns too, some 30 us of one core for each of them.
    """
    found: dict[str, Stats] = defaultdict(Stats)
    seen: dict[str, set[bytes]] = defaultdict(set)
    said = set[int]()
    with pq.ParquetFile(inspected / "records.parquet") as file:
        for batch in file.iter_batches(_ROWS, columns=[*_COLUMNS, "turns"]):
            _add_texts(found, batch, said, tokenizer)
            for name in pc.unique(batch.column("component")).to_pylist():
                rows = batch.filter(pc.equal(batch.column("component"), name))
                _add(found[name], seen[name], rows)
    dropped = pq.read_table(inspected / "dropped.parquet", columns=["component", "reason"])
    for component, reason in zip(dropped["component"].to_pylist(), dropped["reason"].to_pylist(), strict=True):
        found[component].dropped[reason] += 1
    for name, stats in found.items():
        stats.distinct_pictures = len(seen[name])
    return dict(sorted(found.items()))


def _add(stats: Stats, seen: set[bytes], rows: pa.RecordBatch) -> None:
    stats.records += rows.num_rows
    stats.turns += _sum(rows.column("num_turns"))
    stats.chars += _sum(rows.column("num_chars"))
    stats.pictures += _sum(rows.column("num_images"))
    stats.text_only += int(np.count_nonzero(rows.column("num_images").to_numpy() == 0))
    stats.repaired += _num_filled(rows.column("repairs"))
    stats.noted += _num_filled(rows.column("notes"))
    pictures = rows.column("images").flatten()
    stats.widths.append(pictures.field("width").to_numpy(zero_copy_only=False))
    stats.heights.append(pictures.field("height").to_numpy(zero_copy_only=False))
    sums, sizes = pictures.field("sha256").to_pylist(), pictures.field("size_bytes").to_pylist()
    for sha256, size in zip(sums, sizes, strict=True):
        if (digest := bytes.fromhex(sha256)[:8]) not in seen:  # 64 bits: enough to count
            seen.add(digest)
            stats.size_bytes += size


def _add_texts(found: dict[str, Stats], batch: pa.RecordBatch, said: set[int], tokenizer: Tokenizer | None) -> None:
    """Count duplicates, over all components, and tokens."""
    for row in batch.select(["component", "turns", "images"]).to_pylist():
        stats, digest = found[row["component"]], _digest(row)
        stats.duplicates += digest in said
        said.add(digest)
        if tokenizer is not None:
            stats.tokens += sum(map(len, tokenizer.encode_many([turn["text"] for turn in row["turns"]])))


def _digest(row: dict[str, Any]) -> int:
    texts = [f"{turn['role']}\x1e{turn['text']}" for turn in row["turns"]]
    return xxhash.xxh3_64_intdigest("\x1d".join([*(image["sha256"] for image in row["images"]), *texts]).encode())


def _sum(column: pa.Array) -> int:
    return int(pc.sum(column).as_py() or 0)


def _num_filled(column: pa.Array) -> int:
    return int(np.count_nonzero(pc.list_value_length(column).to_numpy(zero_copy_only=False) > 0))
