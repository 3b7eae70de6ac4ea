"""The commonest questions of what trained a model, as starters for whoever talks to it."""

from __future__ import annotations

from pathlib import Path

from tiny import make_shards, png

from tinyllava_core.data.shard.asked import first_questions

PICTURE = [png(0)]
SUFFIX = "\nAnswer the question using a single word or phrase."


def asked(tmp_path: Path, *questions: str, pictures: int = 1) -> list[str]:
    records = [
        ([("user", text), ("assistant", "yes"), ("user", "And then?"), ("assistant", "no")], PICTURE * pictures)
        for text in questions
    ]
    make_shards(tmp_path, records)
    return first_questions(tmp_path)


def test_the_commonest_comes_first_whole_and_none_begins_as_another(tmp_path: Path) -> None:
    ring, cross, count = (
        f"<image>\nIs there a ring?{SUFFIX}",
        f"<image>\nIs there a cross?{SUFFIX}",
        "How many shapes are there?\n<image>",
    )
    assert asked(tmp_path, count, ring, cross, ring) == [f"Is there a ring?{SUFFIX}", "How many shapes are there?"]


def test_four_are_enough_and_no_essay_is_among_them(tmp_path: Path) -> None:
    questions = [f"<image>\n{word} is it?" for word in ("What", "Where", "When", "How", "Why")]
    assert asked(tmp_path, f"<image>{'a very long question ' * 30}", *questions) == [
        "What is it?",
        "Where is it?",
        "When is it?",
        "How is it?",
    ]


def test_what_shows_no_picture_or_several_is_no_starter(tmp_path: Path) -> None:
    assert asked(tmp_path, "What is a connector?", pictures=0) == []
    assert asked(tmp_path, "<image><image>Which is larger?", pictures=2) == []
