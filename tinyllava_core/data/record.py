"""A record: one conversation with its images. Parsers turn annotation files of the known shapes into records.

Nothing is repaired or dropped here: a record comes out as it was written, `inspect` judges it.
"""

from __future__ import annotations

from dataclasses import dataclass

IMAGE_TAG = "<image>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One turn of a conversation. An image tag `<image>` in a user's text stands for the next of the record's images."""

    role: str  # user | assistant, once inspected
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One conversation with its images, from one place of one annotation file."""

    record_id: str  # "<source>-<index, 8 digits>": unique, unlike the file's own ids
    source: str
    index: int  # place in the annotation file, from 0
    original_id: str  # the file's own id; not unique in the published files
    images: tuple[str, ...]  # paths relative to the source's image root
    turns: tuple[Turn, ...]
