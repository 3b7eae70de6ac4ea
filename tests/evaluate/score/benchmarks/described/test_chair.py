"""CHAIR on four made-up pictures, and the words that name an object."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.questions import Files, Question
from tinyllava_core.evaluate.score.benchmarks.described.chair import ASK, CHAIR, objects_in
from tinyllava_core.evaluate.score.scoring import score

CATEGORIES = {1: "person", 17: "cat", 18: "dog", 58: "hot dog"}


def write(folder: Path, there: dict[int, list[int]], captions: dict[int, list[str]]) -> Path:
    images = [{"id": n, "file_name": f"COCO_val2014_{n:012d}.jpg"} for n in there]
    instances = [{"image_id": n, "category_id": one} for n, ones in there.items() for one in ones]
    categories = [{"id": n, "name": name} for n, name in CATEGORIES.items()]
    told = {"images": images, "annotations": instances, "categories": categories}
    (folder / "instances_val2014.json").write_text(json.dumps(told))
    rows = [{"image_id": n, "caption": text} for n, texts in captions.items() for text in texts]
    (folder / "captions_val2014.json").write_text(json.dumps({"images": images, "annotations": rows}))
    return folder


def read(path: Path, **more: object) -> list[Question]:
    return CHAIR.variant(None).read(Files(annotations=path, **more))


@pytest.mark.parametrize(
    ("caption", "objects"),
    [
        ("A man and two women ride bikes.", ["person", "person", "bicycle"]),
        ("Hot dogs and a DOG", ["hot dog", "dog"]),
        ("toilet paper next to the toilet", ["toilet"]),
        ("knives, mice, buses, children and a catcher's mitt", ["knife", "mouse", "bus", "person", "baseball glove"]),
        ("a teddy bear, a bear", ["teddy bear", "bear"]),
        ("a dog, a dog, a dog", ["dog", "dog", "dog"]),
        ("a doghouse at the bus stop", []),
        ("", []),
    ],
)
def test_the_longest_phrase_names_the_object(caption: str, objects: list[str]) -> None:
    assert objects_in(caption) == objects


def test_instances_and_human_captions_say_what_is_there(tmp_path: Path) -> None:
    first, second = read(write(tmp_path, {1: [18, 18], 2: []}, {1: ["A woman with her puppy."], 2: ["Grass."]}))
    assert (first.question_id, first.image, first.text) == (1, "COCO_val2014_000000000001.jpg", ASK)
    assert (first.gold, second.gold) == (("dog", "person"), ("",))


def test_the_three_numbers(tmp_path: Path) -> None:
    questions = read(write(tmp_path, {1: [18, 1], 2: [17], 3: [18], 4: []}, {}))
    said = {1: "A dog and a cat and a cat", 2: "A cat", 3: "A dog, a man", 4: "Nothing but grass"}
    found = score(CHAIR, None, questions, said)
    assert [item.parsed for item in found.items] == ["dog !cat !cat", "cat", "dog !person", ""]
    assert [item.counts for item in found.items] == [(2, 3, 1, 2), (0, 1, 1, 1), (1, 2, 1, 1), (0, 0, 0, 0)]
    assert [item.score for item in found.items] == pytest.approx([1 / 3, 1, 0.5, 1])
    assert (found.metric, found.score) == ("chair_i", 50)  # 3 of 6 mentions
    assert found.value("chair_s") == 50  # 2 of 4 captions
    assert found.value("recall") == 75  # 3 of 4 objects
    assert found.value("objects_per_caption") == 1.5
    assert (found.num_unparsed, CHAIR.variant(None).lower_is_better) == (1, True)


def test_the_questions_file_says_which_pictures(tmp_path: Path) -> None:
    write(tmp_path, {1: [1], 2: [17], 3: [18]}, {})
    chosen = tmp_path / "chosen.jsonl"
    chosen.write_text('{"question_id": "3"}\n{"image_id": 1}\n')
    assert [one.question_id for one in read(tmp_path, questions=chosen)] == [3, 1]
    chosen.write_text('{"image_id": 9}\n')
    with pytest.raises(BadInput, match="line 1: no picture 9"):
        read(tmp_path, questions=chosen)


def test_without_it_the_same_500_are_drawn_each_time(tmp_path: Path) -> None:
    write(tmp_path, {n: [1] for n in range(1, 1001)}, {})
    ids = [one.question_id for one in read(tmp_path)]
    assert ids == [one.question_id for one in read(tmp_path)]
    assert len(set(ids)) == 500


def test_another_shape_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"expected exactly one file instances_\*"):
        read(tmp_path)
    write(tmp_path, {1: [1]}, {})
    with pytest.raises(BadInput, match="expected the folder"):
        read(tmp_path / "instances_val2014.json")
    told = json.loads((tmp_path / "instances_val2014.json").read_text())
    told["categories"].append({"id": 99, "name": "unicorn"})
    (tmp_path / "instances_val2014.json").write_text(json.dumps(told))
    with pytest.raises(BadInput, match="categories unicorn are not among COCO's 80"):
        read(tmp_path)
