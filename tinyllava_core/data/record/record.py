"""A record: one conversation with its images, as every parser gives it, whatever the shape of the annotation file.

Nothing is repaired or dropped here: a record comes out as it was written, `inspect` judges it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyllava_core.data.files.places import ImagePlaces

IMAGE_TAG = "<image>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One turn of a conversation. An image tag `<image>` in a user's text stands for the next of the record's images."""

    role: str  # user | assistant, and system in front of all; once inspected
    text: str
    supervised: bool = True  # an answer that is shown and not learned: False


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What somebody gave a record and its answers, such as FineVision's ratings of 1 to 5. It filters nothing by itself."""

    name: str
    of_record: float | None  # None: not rated
    of_answers: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One conversation with its images, from one place of one annotation file."""

    record_id: str  # "<source>-<index, 8 digits>": unique, unlike the file's own ids
    source: str
    index: int  # place in the annotation file, from 0
    original_id: str  # the file's own id; not unique in the published files
    images: tuple[str, ...]  # paths as written, in reading order; the source's image places turn them into files
    turns: tuple[Turn, ...]
    scores: tuple[Score, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedSource:
    """One source after `inspect`: where its good records and its images are."""

    name: str
    records: Path  # artifact folder of stage inspect
    images: ImagePlaces


class Malformed(ValueError):
    """One item of an annotation file is not a record of its format: says what is wrong. `inspect` drops that item."""


Parser = Callable[[str, int, Any], Record]  # (source, index, JSON value) -> record; raises Malformed


def record_id(source: str, index: int) -> str:
    """Name the record at `index` of a source's annotation file."""
    return f"{source}-{index:08d}"
