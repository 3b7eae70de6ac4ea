"""The source with planted faults: each fault is one, and what is called sound is right."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from tinyllava_core.data.manifest.manifest import load
from tinyllava_core.toyworld.flawed import build_flawed
from tinyllava_core.toyworld.scene import Scene, make_scene
from tinyllava_core.toyworld.text import ASKING, caption

KINDS = (*ASKING, "caption")


@pytest.fixture(scope="module")
def flawed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    build_flawed(folder := tmp_path_factory.mktemp("flawed") / "flawed")
    return folder


@pytest.fixture(scope="module")
def records(flawed: Path) -> list[dict]:
    return json.loads((flawed / "flawed.json").read_text())


def fault(record: dict) -> str:
    return record["image"].partition("/")[0]


def said(record: dict) -> tuple[str, str]:
    return record["conversations"][0]["value"], record["conversations"][1]["value"]


def scene(record: dict) -> Scene:
    kind, index = record["id"].split("-")
    number, place = divmod(int(index), len(KINDS))
    assert KINDS[place] == kind
    return make_scene(f"flawed/{kind}", number, min_shapes=2, printed=True if kind == "reading" else None)


def test_there_are_as_many_of_each_as_the_manifest_says(records: list[dict]) -> None:
    counts = {one.name: one.count for one in load("toy-flawed").components}
    assert Counter(map(fault, records)) == counts
    assert sum(counts.values()) == len(records) == 1600  # 200 steps of 8


def test_a_wrong_label_is_wrong_and_a_sound_one_right(records: list[dict]) -> None:
    """By what the scene has of the thing that is asked for, for the kinds where that takes no more than a look."""
    looked_at = Counter()
    for record in records:
        if fault(record) not in ("sound", "wrong-label"):
            continue
        asked, answer = said(record)
        kind, shown = record["id"].split("-")[0], scene(record)
        if kind == "reading":
            is_right = shown.printed is not None and answer == shown.printed.text
        elif kind == "existence":
            is_right = answer == ("yes" if any(f" {one.kind} " in asked for one in shown.shapes) else "no")
        elif kind == "size":
            is_right = answer == next(one.size for one in shown.shapes if one.name in asked)
        elif kind == "position":
            is_right = answer == next(one.place for one in shown.shapes if one.name in asked)
        else:
            continue
        assert is_right == (fault(record) == "sound"), (record["id"], asked, answer)
        looked_at[kind, is_right] += 1
    assert looked_at == {(k, right): n for k in ("reading", "existence", "size", "position") for right, n in ((True, 136), (False, 24))}  # fmt: skip


def test_a_wrong_answer_is_one_that_the_question_leaves_open(records: list[dict]) -> None:
    choices = {"Is there": ("yes", "no"), "left or right": ("left", "right"), "above or below": ("above", "below")}
    for record in records:
        asked, answer = said(record)
        for words, choice in (choices | {"large or small": ("large", "small")}).items():
            assert words not in asked or answer in choice


def test_a_caption_of_another_picture_is_that_of_another_picture(records: list[dict]) -> None:
    captions = [one for one in records if one["id"].startswith("caption")]
    assert len(captions) == 160
    all_of_them = {caption(scene(one)) for one in captions}
    for one in captions:
        assert (said(one)[1] == caption(scene(one))) == (fault(one) == "sound")
        assert said(one)[1] in all_of_them


def test_an_exact_copy_is_one_to_the_byte_and_a_near_one_has_another_picture(records: list[dict], flawed: Path) -> None:
    with zipfile.ZipFile(flawed / "images.zip") as archive:
        picture = {name: archive.read(name) for name in archive.namelist()}
    sound = [one for one in records if fault(one) == "sound"]
    told, shown = {said(one) for one in sound}, {(*said(one), picture[one["image"]]) for one in sound}
    for one in records:
        if fault(one).endswith("copy"):
            assert said(one) in told
            assert ((*said(one), picture[one["image"]]) in shown) == (fault(one) == "exact-copy")
