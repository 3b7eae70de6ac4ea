"""What a model was asked in training: the commonest first questions of its shards. A starter for whoever talks to it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

from tinyllava_core.data.record.record import IMAGE_TAG
from tinyllava_core.data.shard.read import ShardReader

LOOKED_AT = 400  # records: enough to see what a mix asks, in the mix's own order
LONGEST = 300  # characters: a longer one is no starter


def first_questions(shards: Path, most: int = 4) -> list[str]:
    """List the commonest first questions about one picture, whole as they were trained on, no two that begin with the same three words."""
    count = min(LOOKED_AT, pq.ParquetFile(shards / "index.parquet").metadata.num_rows)
    reader = ShardReader(shards, 0, count)
    asked: Counter[str] = Counter()
    for row in range(count):
        users = [turn.text for turn in reader.turns(row) if turn.role == "user"]
        if users and users[0].count(IMAGE_TAG) == 1:
            asked[users[0].replace(IMAGE_TAG, "").strip()] += 1
    starters: dict[tuple[str, ...], str] = {}
    for text, _ in asked.most_common():
        if 0 < len(text) <= LONGEST:
            starters.setdefault(tuple(text.lower().split()[:3]), text)
    return list(starters.values())[:most]
