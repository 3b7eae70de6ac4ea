"""The rules that a conversation must keep before it may be trained on, and its repairs. It looks at no image file."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass

from tinyllava_core.data.record.reason import Note, Reason, Repair
from tinyllava_core.data.record.record import IMAGE_TAG, Record, Turn
from tinyllava_core.settings.inspect import Inspect

# Strings that language models end a text with. Source: the tokenizer files of the Llama 2 and 3, Phi, Gemma, Qwen and
# StableLM families, of which the reference's templates use the first four.
END_OF_TEXT = (
    "</s>",
    "<|endoftext|>",
    "<eos>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "<|end|>",
)
# Words that part turns. Source: the reference's templates (vicuna), Llama 2's, ChatML, Gemma's, Phi 3's.
TEMPLATE_WORDS = (
    " ASSISTANT:",
    "USER: ",
    "[INST]",
    "[/INST]",
    "<|im_start|>",
    "<start_of_turn>",
    "<|user|>",
    "<|assistant|>",
)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")

NO_LIMITS = Inspect()


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A record as it may be trained on, with what had to be repaired and what is remarkable."""

    record: Record
    repairs: tuple[Repair, ...] = ()
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A fault that keeps a record out: its reason, and the particulars."""

    reason: Reason
    detail: str


def check(record: Record, limits: Inspect = NO_LIMITS) -> Checked | Dropped:
    """Judge one record's turns and tags: repaired where there is one way to, dropped under its first fault otherwise.

    A limit is held against what is left after the repairs.
    """
    if _keeps_every_rule(record):
        return _too_long(record, limits) or Checked(record=record, notes=_notes(record))
    for rule in _RULES:
        if fault := rule(record):
            return fault
    (system, turns), repairs = _parted(record.turns), list[Repair]()
    if turns[0].role == "assistant":
        turns = turns[1:]
        repairs.append(Repair.LEADING_ANSWER_REMOVED)
    if turns[-1].role == "user":
        turns = turns[:-1]
        repairs.append(Repair.TRAILING_QUESTION_REMOVED)
    if repairs:
        record = dataclasses.replace(record, turns=system + turns)
    found = _fit_tags(record, repairs)
    return found if isinstance(found, Dropped) else _too_long(found.record, limits) or found


def _keeps_every_rule(record: Record) -> bool:
    """Tell, fast, whether a record is good as it stands, which nearly all are: the rules below, turned round."""
    roles, texts = [turn.role for turn in record.turns], [turn.text for turn in record.turns]
    try:
        "".join((record.original_id, *record.images, *texts)).encode()
    except UnicodeEncodeError:
        return False
    if roles[:1] == ["system"]:
        if IMAGE_TAG in texts[0]:
            return False
        roles, texts = roles[1:], texts[1:]
    questions, answers = "\n".join(texts[::2]), texts[1::2]
    return (
        roles != []
        and roles == ["user", "assistant"] * len(answers)
        and all(map(str.strip, answers))
        and questions.count(IMAGE_TAG) == len(record.images)
        and IMAGE_TAG not in "\n".join(answers)
    )


def _valid_text(record: Record) -> Dropped | None:
    for text in (record.original_id, *record.images, *(turn.text for turn in record.turns)):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            return Dropped(
                reason=Reason.INVALID_TEXT, detail=f"half a surrogate pair at character {error.start} of {text[:40]!a}"
            )
    return None


def _known_roles(record: Record) -> Dropped | None:
    if not record.turns:
        return Dropped(reason=Reason.NO_TURNS, detail="the list of conversations is empty")
    for number, turn in enumerate(record.turns):
        if turn.role == "tool":
            return Dropped(reason=Reason.TOOL_TURN, detail=f"turn {number} calls a tool, or is a tool's answer")
        if turn.role == "system" and number:
            return Dropped(reason=Reason.SYSTEM_NOT_FIRST, detail=f"turn {number} is the system's; turn 0 alone may be")
        if turn.role not in ("user", "assistant", "system"):
            return Dropped(reason=Reason.UNKNOWN_ROLE, detail=f"turn {number} is from {turn.role!a:.60}")
    if len(record.turns) == 1 and record.turns[0].role == "system":
        return Dropped(reason=Reason.NO_TURNS, detail="the system's turn is the only one")
    return None


def _parted(turns: tuple[Turn, ...]) -> tuple[tuple[Turn, ...], tuple[Turn, ...]]:
    """Part the system's turn, if there is one, from the conversation."""
    at = int(turns[0].role == "system")
    return turns[:at], turns[at:]


def _order(record: Record) -> Dropped | None:
    system, turns = _parted(record.turns)
    roles, begin = [turn.role for turn in turns], len(system)
    if roles[0] == "assistant" and roles[1:3] != ["user", "assistant"]:
        return Dropped(reason=Reason.FIRST_TURN_NOT_USER, detail=f"the turns are {', '.join(roles[:3])}")
    for number, (before, role) in enumerate(itertools.pairwise(roles), begin + 1):
        if before == role:
            return Dropped(
                reason=Reason.ROLES_DO_NOT_ALTERNATE, detail=f"turns {number - 1} and {number} are both from the {role}"
            )
    last = record.turns[-1]
    if last.role == "user" and (len(roles) == 1 or IMAGE_TAG in last.text):
        return Dropped(reason=Reason.NO_ANSWER, detail=f"turn {begin + len(roles) - 1}, the last, is from the user")
    return None


def _answers(record: Record) -> Dropped | None:
    begin = len(_parted(record.turns)[0])
    for number, turn in enumerate(record.turns):
        if turn.role != "assistant" or number == begin:  # an assistant's first turn will be removed
            continue
        if not turn.text.strip():
            return Dropped(reason=Reason.EMPTY_ANSWER, detail=f"turn {number} says {turn.text[:20]!r}")
    for number, turn in enumerate(record.turns):
        if turn.role == "assistant" and number > begin and IMAGE_TAG in turn.text:
            return Dropped(reason=Reason.IMAGE_TAG_IN_ANSWER, detail=f"turn {number} holds {IMAGE_TAG}")
    return None


def _too_long(record: Record, limits: Inspect) -> Dropped | None:
    if limits.max_turns is not None and len(record.turns) > limits.max_turns:
        return Dropped(
            reason=Reason.TOO_MANY_TURNS,
            detail=f"{len(record.turns)} turns are more than inspect.max_turns {limits.max_turns}",
        )
    num_chars = sum(len(turn.text) for turn in record.turns)
    if limits.max_chars is not None and num_chars > limits.max_chars:
        return Dropped(
            reason=Reason.TOO_MANY_CHARACTERS,
            detail=f"{num_chars} characters are more than inspect.max_chars {limits.max_chars}",
        )
    return None


_RULES: tuple[Callable[[Record], Dropped | None], ...] = (_valid_text, _known_roles, _order, _answers)


def _fit_tags(record: Record, repairs: list[Repair]) -> Checked | Dropped:
    """Make the user's tags as many as the images, if there is one way to do it.

    A text that holds a tag and has no image stays out: whether the image was lost or the text speaks of HTML, nobody
    can tell. Several images with another number of tags stay out too: which tag is whose, nobody can tell.
    """
    num_tags, num_images = sum(turn.text.count(IMAGE_TAG) for turn in record.turns), len(record.images)
    system, turns = _parted(record.turns)
    if any(IMAGE_TAG in turn.text for turn in system):
        return Dropped(reason=Reason.IMAGE_TAG_MISMATCH, detail=f"the system's turn holds {IMAGE_TAG}")
    if num_images and not num_tags:
        first, *others = turns
        tagged = dataclasses.replace(first, text=f"{IMAGE_TAG}\n" * num_images + first.text)
        record = dataclasses.replace(record, turns=(*system, tagged, *others))
        repairs.append(Repair.TAG_ADDED)
    elif num_images == 1 and num_tags > 1:
        record = dataclasses.replace(record, turns=tuple(_keep_first_tag(record.turns)))
        repairs.append(Repair.EXTRA_TAGS_REMOVED)
    elif num_tags != num_images:
        return Dropped(reason=Reason.IMAGE_TAG_MISMATCH, detail=f"{num_tags} tags for {num_images} images")
    return Checked(record=record, repairs=tuple(repairs), notes=_notes(record))


def _notes(record: Record) -> tuple[Note, ...]:
    """Say what is remarkable in the words of a record, and is no fault."""
    text = "\n".join([turn.text for turn in record.turns])
    found = []
    if [words for words in END_OF_TEXT if words in text]:  # sixteen searches are faster than one pattern of sixteen
        found.append(Note.END_OF_TEXT_INSIDE)
    if [words for words in TEMPLATE_WORDS if words in text]:
        found.append(Note.TEMPLATE_WORDS_INSIDE)
    if _CONTROL.search(text):
        found.append(Note.CONTROL_CHARACTERS)
    if "\ufffd" in text:
        found.append(Note.REPLACEMENT_CHARACTER)
    return tuple(found)


def _keep_first_tag(turns: tuple[Turn, ...]) -> list[Turn]:
    """Remove every tag but the first, with the line end that follows it; also a tag that another one's removal makes."""
    kept: list[Turn] = []
    seen = False
    for turn in turns:
        head, tag, tail = turn.text.partition(IMAGE_TAG)
        if seen or not tag:
            head, tag, tail = "", "", turn.text
        while IMAGE_TAG in tail:
            tail = tail.replace(f"{IMAGE_TAG}\n", "").replace(IMAGE_TAG, "")
        kept.append(dataclasses.replace(turn, text=head + tag + tail))
        seen = seen or bool(tag)
    return kept
