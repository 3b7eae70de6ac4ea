"""What the parsers of all shapes read alike: texts, roles, picture paths, who begins. It knows no shape."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tinyllava_core.data.record.record import IMAGE_TAG, Malformed, Record, Score, Turn, record_id
from tinyllava_core.errors import is_no_text

# How files call the two sides, and what belongs to neither; any other word comes out as it is, and inspect names it.
ROLES = {
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "bot", "chatgpt", "bing", "bard"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(
        ("tool", "function", "function_call", "observation", "tool_call", "tool_response", "ipython"), "tool"
    ),
}
_NOT_PICTURES = ("video", "videos", "audio", "audios")


def make_record(
    source: str,
    index: int,
    item: Any,
    images: Sequence[str],
    turns: Sequence[Turn],
    scores: tuple[Score, ...] = (),
) -> Record:
    """Put a record together out of what a parser read."""
    return Record(
        record_id=record_id(source, index),
        source=source,
        index=index,
        original_id=original_id(item),
        images=tuple(images),
        turns=tuple(turns),
        scores=scores,
    )


def original_id(item: Any) -> str:
    """Give the id that the file itself gives an item; "" if it gives none."""
    return str(item.get("id", "")) if isinstance(item, dict) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a row was before it came into the annotation file: download writes it into each row under one key of ours."""

    subset: str | None = None
    file: str | None = None
    row: int | None = None


ORIGIN_KEY = "_from"
_NOWHERE = Origin()


def origin_of(item: Any) -> Origin:
    """Read where an item came from; nowhere, if it does not say so in our way."""
    told = item.get(ORIGIN_KEY) if isinstance(item, dict) else None
    if not isinstance(told, dict):
        return _NOWHERE
    subset, file, row = told.get("subset"), told.get("file"), told.get("row")
    if not (isinstance(subset, str) and isinstance(file, str) and type(row) is int and 0 <= row < 1 << 63):
        return _NOWHERE
    if is_no_text(subset + file):
        return _NOWHERE
    return Origin(subset=subset, file=file, row=row)


def an_object(item: Any) -> dict[str, Any]:
    """Give the item if it is a JSON object of pictures and texts alone. Raises Malformed."""
    if not isinstance(item, dict):
        raise Malformed(f"expected an object, found {type(item).__name__}")
    for key in _NOT_PICTURES:
        if item.get(key):
            raise Malformed(f"{key}: only pictures and texts can be trained on, found {item[key]!r:.60}")
    return item


def a_list(item: Mapping[str, Any], key: str) -> list[Any]:
    """Give the list under a key. Raises Malformed."""
    value = item.get(key)
    if not isinstance(value, list):
        raise Malformed(f"{key}: expected a list, found {kind(item, key)}")
    return value


def a_text(holder: Mapping[str, Any], key: str, where: str) -> str:
    """Give the text under a key; null is an empty one, which `inspect` judges. Raises Malformed."""
    value = holder.get(key)
    if value is None and key in holder:
        return ""
    if not isinstance(value, str):
        raise Malformed(f"{where}: expected a text, found {kind(holder, key)}")
    return value


def kind(item: Mapping[str, Any], key: str) -> str:
    """Name the type of what is under a key, for a message."""
    return type(item[key]).__name__ if key in item else "nothing"


def pictures_of(item: Mapping[str, Any], *keys: str) -> tuple[str, ...]:
    """Give the paths under the first of the keys that is there and not null. Raises Malformed."""
    for key in keys:
        value = item.get(key)
        if value is not None:
            values = value if isinstance(value, list) else [value]
            return tuple([a_path(value, one, key) for one in values])
    return ()


def a_path(whole: Any, value: Any, where: str) -> str:
    """Give one picture's path: a text, or an object with `path` or `url`. Raises Malformed, showing the whole value."""
    if isinstance(value, dict):
        value = next((value[key] for key in ("path", "url") if isinstance(value.get(key), str)), value)
    if not isinstance(value, str):
        raise Malformed(f"{where}: expected a path or a list of paths, found {whole!r:.80}")
    if value.startswith("data:"):
        raise Malformed(
            f"{where}: the picture itself, as a data: URL; say images: [{{embedded: true}}] in the manifest"
        )
    if value.startswith(("http://", "https://")):
        raise Malformed(
            f"{where}: a URL, {value:.60}: nothing fetches it; give the manifest a url_table, and the records its names"
        )
    return value


def tags_in_front(turns: list[Turn], num_pictures: int) -> list[Turn]:
    """Put tags in front of the first user's turn, where no user's turn has one: formats without slots mean it so.

    Source: TRL, data_utils.py (prepare_multimodal_messages); nanoVLM, data/datasets.py.
    """
    if not num_pictures or any(IMAGE_TAG in turn.text for turn in turns if turn.role == "user"):
        return turns
    first = next((number for number, turn in enumerate(turns) if turn.role == "user"), None)
    if first is not None:
        turns[first] = dataclasses.replace(turns[first], text=f"{IMAGE_TAG}\n" * num_pictures + turns[first].text)
    return turns
