"""A record: one conversation with its images. Parsers turn the items of annotation files into records.

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

    role: str  # user | assistant, once inspected
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One conversation with its images, from one place of one annotation file."""

    record_id: str  # "<source>-<index, 8 digits>": unique, unlike the file's own ids
    source: str
    index: int  # place in the annotation file, from 0
    original_id: str  # the file's own id; not unique in the published files
    images: tuple[str, ...]  # paths as written; the source's image places turn them into files
    turns: tuple[Turn, ...]


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


def parse_llava(source: str, index: int, item: Any) -> Record:
    """Read one record of LLaVA's shape: `id`, `image` (a path, a list of paths, or absent), `conversations`.

    Source: LLaVA, docs/Finetune_Custom_Data.md; ShareGPT4V uses the same shape.
    """
    if not isinstance(item, dict):
        raise Malformed(f"expected an object, found {type(item).__name__}")
    conversations = item.get("conversations")
    if not isinstance(conversations, list):
        raise Malformed(f"conversations: expected a list, found {_kind(item, 'conversations')}")
    turns = tuple([_llava_turn(number, turn) for number, turn in enumerate(conversations)])
    return Record(
        record_id=record_id(source, index),
        source=source,
        index=index,
        original_id=str(item.get("id", "")),
        images=_llava_images(item),
        turns=turns,
    )


_LLAVA_ROLES = {"human": "user", "gpt": "assistant"}  # any other word comes out as it is


def _llava_turn(number: int, turn: Any) -> Turn:
    if not isinstance(turn, dict):
        raise Malformed(f"conversations[{number}]: expected an object, found {type(turn).__name__}")
    role, text = turn.get("from"), turn.get("value")
    if not isinstance(role, str):
        raise Malformed(f"conversations[{number}].from: expected a text, found {_kind(turn, 'from')}")
    if not isinstance(text, str):
        raise Malformed(f"conversations[{number}].value: expected a text, found {_kind(turn, 'value')}")
    return Turn(role=_LLAVA_ROLES.get(role, role), text=text)


def _llava_images(item: dict[str, Any]) -> tuple[str, ...]:
    image = item.get("image")
    if image is None:
        return ()
    paths = [image] if isinstance(image, str) else image
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise Malformed(f"image: expected a path or a list of paths, found {image!r:.80}")
    return tuple(paths)


def _kind(item: dict[str, Any], key: str) -> str:
    return type(item[key]).__name__ if key in item else "nothing"


PARSERS: dict[str, Parser] = {"llava": parse_llava}  # a manifest's `format`
