"""The table of annotation formats: one parser each, and what an item of it looks like. A manifest's `format` is a key."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tinyllava_core.data.record.json_items import json_items
from tinyllava_core.data.record.llava import parse_llava, parse_sharegpt
from tinyllava_core.data.record.messages import parse_messages
from tinyllava_core.data.record.record import Parser
from tinyllava_core.data.record.rows import (
    ANSWERS,
    CAPTIONS,
    is_triple,
    parse_captions,
    parse_points,
    parse_prompts,
    parse_questions,
    parse_texts,
    parse_triples,
)
from tinyllava_core.errors import BadInput, unknown

_SNIFFED = 200  # items that are looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One shape of records."""

    parse: Parser
    fits: Callable[[Any], bool]  # asked of a few items, in the order of the table


def _has(*keys: str) -> Callable[[Any], bool]:
    return lambda item: isinstance(item, dict) and any(item.get(key) is not None for key in keys)


def _is_llava(item: Any) -> bool:
    turns = item.get("conversations") if isinstance(item, dict) else None
    return (
        isinstance(turns, list)
        and all(isinstance(turn, dict) and "from" in turn for turn in turns)
        and "system" not in item
    )


def _is_messages(item: Any) -> bool:
    return isinstance(item, list) or _has("messages")(item)


FORMATS: dict[str, Format] = {
    "llava": Format(parse=parse_llava, fits=_is_llava),
    "triples": Format(parse=parse_triples, fits=is_triple),
    "messages": Format(parse=parse_messages, fits=_is_messages),
    "sharegpt": Format(parse=parse_sharegpt, fits=_has("conversations", "conversation", "query", "response")),
    "texts": Format(parse=parse_texts, fits=_has("texts")),
    "prompts": Format(parse=parse_prompts, fits=_has("captions")),
    "points": Format(parse=parse_points, fits=_has("label")),
    "questions": Format(parse=parse_questions, fits=_has("questions", *ANSWERS)),
    "captions": Format(parse=parse_captions, fits=_has(*CAPTIONS)),
}


def parser(name: str) -> Parser:
    """Look a format's parser up. Raises BadInput for an unknown one."""
    if name not in FORMATS:
        raise unknown("annotation format", name, FORMATS)
    return FORMATS[name].parse


def sniff(items: Iterable[Any], where: str) -> str:
    """Name the format that the first items look like: the first of the table that fits most of them, half at least.

    Raises BadInput if none does, with the keys that were found.
    """
    seen = list(islice(items, _SNIFFED))
    votes = [next((name for name, form in FORMATS.items() if form.fits(item)), None) for item in seen]
    best = max(FORMATS, key=votes.count)
    if seen and 2 * votes.count(best) >= len(seen):
        return best
    keys = sorted({key for item in seen if isinstance(item, dict) for key in item})[:12]
    raise BadInput(
        f"{where}: its records look like none of {', '.join(FORMATS)}; their keys: {', '.join(keys) or 'none'}. Name the "
        'nearest as annotations.format, or bring the records into its shape, the simplest: {"image": "a.jpg", '
        '"caption": "a cat"}'
    )


def sniff_file(path: Path) -> str:
    """Name the format of an annotation file by its first records. Raises BadInput if it is broken, or looks like none."""
    return sniff(json_items(path), str(path))
