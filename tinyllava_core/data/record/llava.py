"""Parsers of the shapes that came from LLaVA and ShareGPT: a list of turns, from/value or role/content or in pairs."""

from __future__ import annotations

from typing import Any

from tinyllava_core.data.record.record import Malformed, Record, Turn
from tinyllava_core.data.record.values import (
    ROLES,
    a_list,
    a_text,
    an_object,
    kind,
    make_record,
    pictures_of,
    tags_in_front,
)


def parse_llava(source: str, index: int, item: Any) -> Record:
    """Read one record of LLaVA's shape: `id`, `image` (a path, a list of paths, or absent), `conversations`.

    Source: LLaVA, docs/Finetune_Custom_Data.md; ShareGPT4V and LLaVA-OneVision's Parquet use the same shape.
    """
    item = an_object(item)
    conversations = a_list(item, "conversations")
    turns = [_llava_turn(number, turn) for number, turn in enumerate(conversations)]
    return make_record(source, index, item, pictures_of(item, "image", "images"), turns)


def _llava_turn(number: int, turn: Any) -> Turn:
    if not isinstance(turn, dict):
        raise Malformed(f"conversations[{number}]: expected an object, found {type(turn).__name__}")
    role, text = turn.get("from"), turn.get("value")
    if not isinstance(role, str):
        raise Malformed(f"conversations[{number}].from: expected a text, found {kind(turn, 'from')}")
    if not isinstance(text, str):
        raise Malformed(f"conversations[{number}].value: expected a text, found {kind(turn, 'value')}")
    return Turn(role=ROLES.get(role, role), text=text)


def parse_sharegpt(source: str, index: int, item: Any) -> Record:
    """Read ShareGPT's variants: turns under `conversations` or `conversation`, or `query`, `response`, `history`; `system`.

    Without a tag in any turn, the pictures stand in front of the first question. Source of the variants: LLaMA-Factory,
    data/README.md; ms-swift, "Custom dataset".
    """
    item = an_object(item)
    turns = list[Turn]()
    if isinstance(item.get("system"), str) and item["system"].strip():
        turns.append(Turn(role="system", text=item["system"]))
    if "query" in item or "response" in item:
        turns += _from_query(item)
    else:
        key = "conversations" if "conversations" in item else "conversation"
        for number, turn in enumerate(a_list(item, key)):
            turns += _turns(turn, f"{key}[{number}]")
    images = pictures_of(item, "images", "image")
    return make_record(source, index, item, images, tags_in_front(turns, len(images)))


def _from_query(item: dict[str, Any]) -> list[Turn]:
    turns = list[Turn]()
    for number, pair in enumerate(a_list(item, "history") if item.get("history") is not None else ()):
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)):
            raise Malformed(f"history[{number}]: expected a question and its answer, found {pair!r:.80}")
        turns += [Turn(role="user", text=pair[0]), Turn(role="assistant", text=pair[1])]
    return [
        *turns,
        Turn(role="user", text=a_text(item, "query", "query")),
        Turn(role="assistant", text=a_text(item, "response", "response")),
    ]


_PAIR = (("human", "user"), ("user", "user"), ("gpt", "assistant"), ("assistant", "assistant"))


def _turns(turn: Any, where: str) -> list[Turn]:
    """Read one entry of the list: a turn, or a question with its answer."""
    if not isinstance(turn, dict):
        raise Malformed(f"{where}: expected an object, found {type(turn).__name__}")
    for role, text in (("from", "value"), ("role", "content")):
        if role in turn:
            who, said = turn[role], a_text(turn, text, f"{where}.{text}")
            if not isinstance(who, str):
                raise Malformed(f"{where}.{role}: expected a text, found {kind(turn, role)}")
            return [Turn(role=ROLES.get(who, who), text=said, supervised=is_learned(turn, where))]
    pair = [Turn(role=role, text=a_text(turn, key, f"{where}.{key}")) for key, role in _PAIR if key in turn]
    if [one.role for one in pair] != ["user", "assistant"]:
        raise Malformed(
            f"{where}: expected from and value, role and content, or human and assistant; found {list(turn)}"
        )
    return pair


def is_learned(turn: dict[str, Any], where: str) -> bool:
    """Tell whether an answer is to be learned: ms-swift's `loss` and `loss_scale`, `weight` of OpenAI's fine-tuning files.

    Raises Malformed for a weight between: nothing here weighs one answer against another.
    """
    for key in ("loss", "loss_scale", "weight"):
        if (value := turn.get(key)) is not None:
            if value not in (0, 1):
                raise Malformed(f"{where}.{key}: {value!r:.40}; expected 1 (learned) or 0 (shown, not learned)")
            return bool(value)
    return True
