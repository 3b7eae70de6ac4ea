"""One question of a record as a record of its own, with the pictures that were shown up to it. It decides nothing."""

from __future__ import annotations

from typing import Any

from tinyllava_core.data.record.record import IMAGE_TAG
from tinyllava_core.data.shard.lookup import StoredRecord

WHOLE = -1  # in place of a question's number: all of the record


def only(record: StoredRecord, question: int) -> StoredRecord:
    """Give the record with that question alone, counted from 0, what stood in front of all of them, and its answers.

    Earlier questions and answers go; the places of their pictures come in front of its text.
    """
    if question == WHOLE:
        return record
    asked = [number for number, turn in enumerate(record.turns) if turn["role"] == "user"]
    start, stop = asked[question], [*asked, len(record.turns)][question + 1]
    before = sum(record.turns[number]["text"].count(IMAGE_TAG) for number in asked[:question])
    mine: dict[str, Any] = record.turns[start] | {"text": IMAGE_TAG * before + record.turns[start]["text"]}
    return StoredRecord(
        record_id=record.record_id,
        turns=[*record.turns[: asked[0]], mine, *record.turns[start + 1 : stop]],
        images=record.images[: mine["text"].count(IMAGE_TAG)],
    )
