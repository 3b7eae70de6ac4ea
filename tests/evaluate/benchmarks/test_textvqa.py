"""TextVQA's file and its score, worked out by hand. The texts' rules are in test_vqa_text.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tinyllava_core.data.places import ImagePlaces
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.benchmarks.textvqa import read, score
from tinyllava_core.evaluate.questions import Question


def row(question_id: int, image_id: str = "003a8ae2ef43b901", **more: object) -> dict:
    return {
        "question_id": question_id,
        "image_id": image_id,
        "question": "what does the sign say?",
        "question_tokens": ["what", "does", "the", "sign", "say"],
        "answers": ["stop"] * 7 + ["stop sign"] * 2 + ["unanswerable"],
        "image_width": 1024,
        "image_height": 768,
        "set_name": "val",
        **more,
    }


def write(path: Path, rows: object) -> Path:
    path.write_text(json.dumps({"dataset_type": "val", "dataset_name": "textvqa", "data": rows}))
    return path


def question(question_id: int, answers: list[str], image: str, category: str = "") -> Question:
    return Question(question_id=question_id, image=image, text="?", gold=tuple(answers), category=category)


def test_the_official_file_is_read_and_asked_without_ocr_tokens(tmp_path: Path) -> None:
    path = write(tmp_path / "val.json", [row(34602, ocr_tokens=["STOP"])])
    (one,) = read(path, ImagePlaces.one(tmp_path))
    assert one.question_id == 34602
    assert one.text == "what does the sign say?\nAnswer the question using a single word or phrase."
    assert one.gold == ("stop",) * 7 + ("stop sign",) * 2 + ("unanswerable",)
    assert (one.image, one.category) == ("003a8ae2ef43b901.jpg", "")


def test_the_picture_is_the_one_that_is_there(tmp_path: Path) -> None:
    path = write(tmp_path / "val.json", [row(1, "a"), row(2, "b"), row(3, "c"), row(4, "d")])
    (tmp_path / "train_images").mkdir()
    for name in ("a.jpg", "b.png", "train_images/c.jpg"):
        (tmp_path / name).touch()
    assert [one.image for one in read(path, ImagePlaces.one(tmp_path))] == [
        "a.jpg",
        "b.png",
        "train_images/c.jpg",
        "d.jpg",
    ]


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ([row(1), row(1)], "question_id 1 occurs twice"),
        ([row(1), row(2, answers=["x"] * 9)], "data[1]: answers = "),
        ([row(1, answers=["x"] * 9 + [1])], "expected 10 texts"),
        (
            [{key: value for key, value in row(1).items() if key != "answers"}],
            "data[0]: key 'answers' is missing: the test split",
        ),
        ([row(1, image_id=None)], "data[0]: image_id = None"),
        (["x"], "data[0]: found a JSON str"),
        ([], "'data' is empty"),
        ({}, "expected TextVQA's {'data': [...]}"),
    ],
)
def test_annotations_of_another_shape_are_one_clear_line(tmp_path: Path, rows: object, fault: str) -> None:
    with pytest.raises(BadInput) as error:
        read(write(tmp_path / "val.json", rows), ImagePlaces.one(tmp_path))
    assert fault in str(error.value)
    assert "\n" not in str(error.value)


def test_another_benchmarks_file_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "vqa.json").write_text(json.dumps({"info": {}, "annotations": []}))
    with pytest.raises(BadInput, match="found keys info, annotations"):
        read(tmp_path / "vqa.json", ImagePlaces.one(tmp_path))
    (tmp_path / "pope.json").write_text('{"question_id": 1}\n{"question_id": 2}\n')
    with pytest.raises(BadInput, match="line 2: not JSON: Extra data"):
        read(tmp_path / "pope.json", ImagePlaces.one(tmp_path))


def test_the_score_is_m4cs_soft_accuracy_in_percent() -> None:
    questions = [
        question(1, ["stop"] * 10, "a.jpg"),
        question(2, ["7"] * 3 + ["eleven"] * 7, "b.jpg"),
        question(3, ["exit"] * 2 + ["way out"] * 8, "c.jpg"),
        question(4, ["exit"] * 10, "d.jpg"),
    ]
    scored = score(questions, {1: "Stop.", 2: "Seven", 3: "the EXIT", 4: "a"})
    assert [item.score for item in scored.items] == pytest.approx([1, 0.9, 0.6, 0])
    assert [item.parsed for item in scored.items] == ["stop", "7", "exit", ""]
    assert (scored.metric, scored.score) == ("accuracy", pytest.approx(62.5))
    # deviations .375 .275 -.025 -.625: squares sum to .6075; sqrt(.6075 / 3 / 4) = .225
    assert scored.stderr == pytest.approx(22.5)
    assert scored.num_unparsed == 1  # "a" leaves nothing
    assert scored.subscores == {}


def test_a_category_gets_its_own_subscore() -> None:
    questions = [
        question(1, ["x"] * 10, "a", "colour"),
        question(2, ["x"] * 10, "b", "count"),
        question(3, ["x"] * 10, "b", "count"),
    ]
    scored = score(questions, {1: "y", 2: "x", 3: "y"})
    assert scored.subscores == {"colour": 0, "count": 50}


def test_a_missing_answer_is_said() -> None:
    with pytest.raises(BadInput, match="1 of 1 questions have none"):
        score([question(1, ["x"] * 10, "a")], {})
