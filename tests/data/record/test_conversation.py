import random

import pytest

from tinyllava_core.data.record import conversation as module
from tinyllava_core.data.record.conversation import Checked, Dropped, check
from tinyllava_core.data.record.reason import Note, Reason, Repair
from tinyllava_core.data.record.record import Record, Turn
from tinyllava_core.settings.inspect import Inspect

ROLES = {"u": "user", "a": "assistant", "s": "system", "t": "tool", "o": "observer"}


def record(*turns: str, images: int = 0, id: str = "1") -> Record:
    """Make a record from turns like "u:text"."""
    split = [turn.partition(":") for turn in turns]
    return Record(
        record_id="s-00000000",
        source="s",
        index=0,
        original_id=id,
        images=tuple(f"{number}.jpg" for number in range(images)),
        turns=tuple(Turn(role=ROLES[role], text=text) for role, _, text in split),
    )


@pytest.mark.parametrize(
    ("given", "reason", "detail"),
    [
        (record("u:\ud83d", "a:x"), Reason.INVALID_TEXT, "character 0"),
        (record("u:x", "a:x", id="a\udc80"), Reason.INVALID_TEXT, "character 1"),
        (record(), Reason.NO_TURNS, "empty"),
        (record("o:be kind", "u:x", "a:y"), Reason.UNKNOWN_ROLE, "turn 0 is from 'observer'"),
        (record("s:be kind"), Reason.NO_TURNS, "the system's turn is the only one"),
        (record("s:be kind", "s:and brief", "u:x", "a:y"), Reason.SYSTEM_NOT_FIRST, "turn 1 is the system's"),
        (record("u:x", "a:y", "s:be kind", "u:x", "a:y"), Reason.SYSTEM_NOT_FIRST, "turn 2 is the system's"),
        (record("u:x", "t:{}", "a:y"), Reason.TOOL_TURN, "turn 1 calls a tool, or is a tool's answer"),
        (record("s:x", "a:x"), Reason.FIRST_TURN_NOT_USER, "the turns are assistant"),
        (
            record("s:x", "u:x", "a:y", "a:z"),
            Reason.ROLES_DO_NOT_ALTERNATE,
            "turns 2 and 3 are both from the assistant",
        ),
        (record("s:x", "u:x"), Reason.NO_ANSWER, "turn 1, the last"),
        (record("s:x", "u:x", "a: "), Reason.EMPTY_ANSWER, "turn 2"),
        (record("s:<image>", "u:x", "a:y", images=1), Reason.IMAGE_TAG_MISMATCH, "the system's turn holds <image>"),
        (record("a:x"), Reason.FIRST_TURN_NOT_USER, "assistant"),
        (record("a:x", "u:y"), Reason.FIRST_TURN_NOT_USER, "assistant, user"),
        (record("a:x", "a:x", "u:y", "a:z"), Reason.FIRST_TURN_NOT_USER, "assistant, assistant, user"),
        (record("u:x", "a:y", "a:z"), Reason.ROLES_DO_NOT_ALTERNATE, "turns 1 and 2 are both from the assistant"),
        (record("u:x", "u:y", "a:z"), Reason.ROLES_DO_NOT_ALTERNATE, "turns 0 and 1 are both from the user"),
        (record("u:x"), Reason.NO_ANSWER, "turn 0, the last"),
        (record("u:x", "a:y", "u:<image>", images=1), Reason.NO_ANSWER, "turn 2, the last"),
        (record("u:x", "a: \n"), Reason.EMPTY_ANSWER, "turn 1"),
        (record("u:x", "a:<image>", images=1), Reason.IMAGE_TAG_IN_ANSWER, "turn 1"),
        (record("u:what does <image> mean in HTML?", "a:y"), Reason.IMAGE_TAG_MISMATCH, "1 tags for 0 images"),
        (record("u:<image>", "a:y", images=2), Reason.IMAGE_TAG_MISMATCH, "1 tags for 2 images"),
        (record("u:<image><image><image>", "a:y", images=2), Reason.IMAGE_TAG_MISMATCH, "3 tags for 2 images"),
    ],
)
def test_a_fault_is_named(given, reason, detail):
    found = check(given)
    assert isinstance(found, Dropped)
    assert found.reason == reason
    assert detail in found.detail


def test_the_first_fault_names_the_record():
    found = check(record("u:<image>", "a:", "o:x", images=2))
    assert isinstance(found, Dropped)
    assert found.reason == Reason.UNKNOWN_ROLE


@pytest.mark.parametrize(
    "given",
    [
        record("u:x", "a:y"),
        record("s:be kind", "u:x", "a:y"),
        record("s:", "u:<image>x", "a:y", images=1),
        record("u:<image>\nx", "a:y", "u:z", "a:w", images=1),
        record("u:x\n<image>", "a:y", images=1),
        record("u:x", "a:y", "u:<image>\nz", "a:w", images=1),
        record("u:<image><image>", "a:y", images=2),
        record("u:<image>", "a:y", "u:<image>", "a:z", images=2),
    ],
)
def test_a_good_record_is_left_alone(given):
    assert check(given) == Checked(record=given)


@pytest.mark.parametrize(
    ("given", "wanted", "repairs"),
    [
        (record("u:x", "a:y", images=1), record("u:<image>\nx", "a:y", images=1), (Repair.TAG_ADDED,)),
        (record("u:x", "a:y", images=2), record("u:<image>\n<image>\nx", "a:y", images=2), (Repair.TAG_ADDED,)),
        (
            record("u:<image>\nx", "a:y", "u:<image>\nz", "a:w", images=1),
            record("u:<image>\nx", "a:y", "u:z", "a:w", images=1),
            (Repair.EXTRA_TAGS_REMOVED,),
        ),
        (
            record("u:x <image> <image>", "a:y", images=1),
            record("u:x <image> ", "a:y", images=1),
            (Repair.EXTRA_TAGS_REMOVED,),
        ),
        (record("a:hi", "u:x", "a:y"), record("u:x", "a:y"), (Repair.LEADING_ANSWER_REMOVED,)),
        (record("s:b", "a:hi", "u:x", "a:y"), record("s:b", "u:x", "a:y"), (Repair.LEADING_ANSWER_REMOVED,)),
        (record("s:b", "u:x", "a:y", images=1), record("s:b", "u:<image>\nx", "a:y", images=1), (Repair.TAG_ADDED,)),
        (record("u:x", "a:y", "u:z"), record("u:x", "a:y"), (Repair.TRAILING_QUESTION_REMOVED,)),
        (
            record("a:", "u:x", "a:y", "u:z", images=1),
            record("u:<image>\nx", "a:y", images=1),
            (Repair.LEADING_ANSWER_REMOVED, Repair.TRAILING_QUESTION_REMOVED, Repair.TAG_ADDED),
        ),
    ],
)
def test_what_has_one_way_to_be_mended_is_mended_and_noted(given, wanted, repairs):
    assert check(given) == Checked(record=wanted, repairs=repairs)


@pytest.mark.parametrize(
    ("given", "note"),
    [
        (record("u:What ends a text?", "a:It is </s>."), Note.END_OF_TEXT_INSIDE),
        (record("u:x <|endoftext|>", "a:y"), Note.END_OF_TEXT_INSIDE),
        (record("u:x", "a:y<|im_end|>"), Note.END_OF_TEXT_INSIDE),
        (record("u:x", "a:<eos>"), Note.END_OF_TEXT_INSIDE),
        (record("u:x", "a:y USER: z"), Note.TEMPLATE_WORDS_INSIDE),
        (record("u:x ASSISTANT: y", "a:z"), Note.TEMPLATE_WORDS_INSIDE),
        (record("u:[INST]x[/INST]", "a:z"), Note.TEMPLATE_WORDS_INSIDE),
        (record("u:<|im_start|>", "a:z"), Note.TEMPLATE_WORDS_INSIDE),
        (record("u:x\0", "a:z"), Note.CONTROL_CHARACTERS),
        (record("u:x", "a:\x85z"), Note.CONTROL_CHARACTERS),
        (record("u:x", "a:\ufffd"), Note.REPLACEMENT_CHARACTER),
    ],
)
def test_what_is_remarkable_is_noted_and_left_alone(given, note):
    assert check(given) == Checked(record=given, notes=(note,))


@pytest.mark.parametrize("words", ["tab\t, line\nends\r\n", "é ❤ \u200d \u3000", "an assistant: yes", "</b> <s>"])
def test_what_is_ordinary_is_not_noted(words):
    assert check(record(f"u:{words}", f"a:{words}")).notes == ()


def test_notes_are_of_what_is_left():
    found = check(record("a:</s>", "u:x", "a:y", "u:</s>"))
    assert (found.notes, len(found.repairs)) == ((), 2)


@pytest.mark.parametrize(
    ("limits", "reason", "detail"),
    [
        ({}, None, ""),
        ({"max_turns": 4, "max_chars": 11}, None, ""),
        ({"max_turns": 3}, Reason.TOO_MANY_TURNS, "4 turns are more than inspect.max_turns 3"),
        ({"max_chars": 10}, Reason.TOO_MANY_CHARACTERS, "11 characters are more than inspect.max_chars 10"),
    ],
)
def test_limits_are_held_against_what_is_left(limits, reason, detail):
    """4 turns of 2, 3, 2 and 4 characters; the first answer will be removed."""
    found = check(record("a:removed", "u:12", "a:123", "u:12", "a:1234"), Inspect(**limits))
    assert (found.reason, found.detail) == (reason, detail) if reason else isinstance(found, Checked)


def test_the_fast_look_agrees_with_the_rules_one_by_one(monkeypatch):
    """Three thousand records of a few words that matter, some of them good."""
    chance = random.Random(0)
    words = ["", " ", "x", "<image>", "<image>\nx", "\ud800", "</s>"]
    weights = [1, 1, 12, 3, 3, 1, 1]
    records = [
        record(
            *(["s:be kind"] if chance.random() < 0.2 else []),
            *(f"{role}:{chance.choices(words, weights)[0]}" for role in ("ua" * 3)[: chance.randrange(7)]),
            *(["s:x"] if chance.random() < 0.1 else []),
            images=chance.randrange(3),
        )
        for _ in range(3000)
    ]
    fast = [check(one) for one in records]
    good = sum(isinstance(found, Checked) and not found.repairs for found in fast)
    monkeypatch.setattr(module, "_keeps_every_rule", lambda record: False)
    assert [check(one) for one in records] == fast
    assert 100 < good < 2900
