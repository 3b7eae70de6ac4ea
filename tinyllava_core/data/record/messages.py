"""Parser of `messages`: TRL's and OpenAI's chats, whose contents are texts or lists of parts. It opens no picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tinyllava_core.data.record.llava import is_learned
from tinyllava_core.data.record.record import IMAGE_TAG, Malformed, Record, Turn
from tinyllava_core.data.record.values import (
    ROLES,
    a_list,
    a_path,
    an_object,
    kind,
    make_record,
    pictures_of,
    tags_in_front,
)

_TEXTS = ("text", "input_text", "output_text")  # the last two: OpenAI's Responses
_PICTURES = ("image", "input_image", "image_url")
_PAYLOADS = (
    "image",
    "image_url",
    "url",
    "path",
    "source",
)  # where a part of a picture may have it; the last: Anthropic's


def parse_messages(source: str, index: int, item: Any) -> Record:
    """Read `messages`: role and content each; pictures in the parts themselves, or in order from `images` (or `image`).

    Contents that are plain texts without a tag: all pictures stand in front of the first question, as TRL has it. A null
    inside a part is how a struct column of an old Parquet file looks, and says nothing. What calls a tool is a tool's turn.
    A list alone is the messages: LLaVA-558K's tars have it so.
    """
    item = {"messages": item} if isinstance(item, list) else an_object(item)
    messages = a_list(item, "messages")
    slots = _Slots(waiting=iter(pictures_of(item, "images", "image")))
    turns = [_turn(message, slots, number) for number, message in enumerate(messages)]
    left = list(slots.waiting)
    if left and not slots.num_parts:
        turns = tags_in_front(turns, len(left))
    return make_record(source, index, item, [*slots.paths, *left], turns)


@dataclass(slots=True)
class _Slots:
    """The pictures met so far, in reading order, and those that wait for a part without one of its own."""

    waiting: Iterator[str]
    paths: list[str] = field(default_factory=list)
    num_parts: int = 0

    def take(self, part: dict[str, Any], where: str) -> str:
        """Give the slot of one picture part."""
        self.num_parts += 1
        payload = next((part[key] for key in _PAYLOADS if part.get(key) is not None), None)
        if payload is None:
            self.paths += next(
                ([path] for path in self.waiting), []
            )  # with none left, the slots are too many: see `check`
        else:
            self.paths.append(a_path(payload, payload, where))
        return IMAGE_TAG


def _turn(message: Any, slots: _Slots, number: int) -> Turn:
    """Read one message. Its place in the list is put into words where something is wrong with it alone: that is half the time."""
    if not isinstance(message, dict):
        raise Malformed(f"messages[{number}]: expected an object, found {type(message).__name__}")
    role, content = message.get("role", message.get("from")), message.get("content", message.get("value"))
    if not isinstance(role, str):
        raise Malformed(f"messages[{number}].role: expected a text, found {kind(message, 'role')}")
    role = ROLES.get(role, role)
    if isinstance(content, list):
        text = "".join([_part(part, slots, number, place) for place, part in enumerate(content)])
    elif isinstance(content, str) or content is None:
        text = content or ""
    else:
        raise Malformed(
            f"messages[{number}].content: expected a text or a list of parts, found {type(content).__name__}"
        )
    if len(message) <= 2:
        return Turn(role=role, text=text)
    calls = message.get("tool_calls") or message.get("function_call")
    learned = is_learned(message, f"messages[{number}]")
    return Turn(role="tool" if calls else role, text=text, supervised=learned)


def _part(part: Any, slots: _Slots, number: int, place: int) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        raise Malformed(f"messages[{number}].content[{place}]: expected a part, found {type(part).__name__}")
    what = part.get("type")
    if what in _TEXTS:
        text = part.get("text")
        if isinstance(text, str):
            return text
        raise Malformed(f"messages[{number}].content[{place}].text: expected a text, found {kind(part, 'text')}")
    if what in _PICTURES:
        return slots.take(part, f"messages[{number}].content[{place}]")
    if isinstance(what, str):
        raise Malformed(
            f"messages[{number}].content[{place}]: a part of type {what!r:.40}; only text and pictures can be trained on"
        )
    raise Malformed(f"messages[{number}].content[{place}].type: expected a text, found {kind(part, 'type')}")
