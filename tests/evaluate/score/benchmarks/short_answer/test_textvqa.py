"""TextVQA's file and its score, worked out by hand. The texts' rules are in test_vqa_text.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.answers import read_answers
from tinyllava_core.evaluate.questions.questions import Files, Question
from tinyllava_core.evaluate.score.benchmarks.short_answer.textvqa import (
    TEXTVQA,
    join,
    own_answers,
    question_of,
    submit,
)
from tinyllava_core.evaluate.score.scoring import Scored
from tinyllava_core.evaluate.score.scoring import score as score_answers

SUFFIX = "\nAnswer the question using a single word or phrase."


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
    facets = (category,) if category else ()
    return Question(question_id=question_id, image=image, text="?", gold=tuple(answers), facets=facets)


def read(annotations: Path, images: ImagePlaces, variant: str | None = None, **more: object) -> list[Question]:
    return TEXTVQA.variant(variant).read(Files(annotations=annotations, images=images, **more))


def score(questions: list[Question], answers: dict) -> Scored:
    return score_answers(TEXTVQA, None, questions, answers)


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
    assert scored.subscores == ()


def test_a_category_gets_its_own_subscore() -> None:
    questions = [
        question(1, ["x"] * 10, "a", "colour"),
        question(2, ["x"] * 10, "b", "count"),
        question(3, ["x"] * 10, "b", "count"),
    ]
    scored = score(questions, {1: "y", 2: "x", 3: "y"})
    assert {one.name: (one.value, one.n) for one in scored.subscores} == {"colour": (0, 1), "count": (50, 2)}


def test_a_missing_answer_is_said() -> None:
    with pytest.raises(BadInput, match="1 of 1 questions have none"):
        score([question(1, ["x"] * 10, "a")], {})


def test_the_test_split_has_no_answers_and_is_uploaded(tmp_path: Path) -> None:
    hidden = [{key: value for key, value in row(n).items() if key != "answers"} for n in (1, 2)]
    path = write(tmp_path / "test.json", hidden)
    questions = read(path, ImagePlaces.one(tmp_path))
    with pytest.raises(BadInput, match="those of this split are not public"):
        score(questions, {1: "x", 2: "y"})
    submit({2: "y", 1: "x"}, path, tmp_path / "upload.json")
    assert json.loads((tmp_path / "upload.json").read_text()) == [
        {"question_id": 1, "answer": "x"},
        {"question_id": 2, "answer": "y"},
    ]
    assert own_answers(tmp_path / "upload.json", questions) == {1: "x", 2: "y"}
    with pytest.raises(BadInput, match="1 of 2 questions have none"):
        submit({2: "y"}, path, tmp_path / "upload.json")


def test_with_ocr_tokens_the_prompt_has_three_lines(tmp_path: Path) -> None:
    expected = "what does the sign say?\nReference OCR token: STOP, 4-WAY" + SUFFIX
    path = write(tmp_path / "TextVQA_0.5.1_val.json", [row(1, ocr_tokens=["STOP", "4-WAY"])])
    assert read(path, ImagePlaces.one(tmp_path), "ocr")[0].text == expected
    write(path, [row(1, "abc")])
    with pytest.raises(BadInput, match="needs the OCR tokens: TextVQA_Rosetta_OCR"):
        read(path, ImagePlaces.one(tmp_path), "ocr")
    assert (
        read(path, ImagePlaces.one(tmp_path), "ocr", asking=False)[0].text == "what does the sign say?" + SUFFIX
    )  # enough to score
    rosetta = write(
        tmp_path / "TextVQA_Rosetta_OCR_v0.2_val.json", [{"image_id": "abc", "ocr_tokens": ["STOP", "4-WAY"]}]
    )
    assert read(path, ImagePlaces.one(tmp_path), "ocr", questions=rosetta)[0].text == expected
    assert read(tmp_path, ImagePlaces.one(tmp_path), "ocr")[0].text == expected  # a folder with both
    llava = tmp_path / "llava.jsonl"
    llava.write_text(json.dumps({"question_id": "abc", "image": "abc.jpg", "text": expected}))
    assert read(path, ImagePlaces.one(tmp_path), "ocr", questions=llava)[0].text == expected
    write(rosetta, [{"image_id": "other", "ocr_tokens": []}])
    with pytest.raises(BadInput, match="no OCR tokens for image abc"):
        read(path, ImagePlaces.one(tmp_path), "ocr", questions=rosetta)


@pytest.mark.parametrize(
    ("prompt", "question"),
    [
        ("What Is it?" + SUFFIX, "what is it?"),
        ("What Is it?\nReference OCR token: a, b" + SUFFIX, "what is it?"),
        ("Reference OCR token: a, b\nWhat is it?" + SUFFIX, "what is it?"),
        ("OCR tokens: a b. Question: What is it? Short answer:", "what is it?"),
    ],
)
def test_the_question_is_recovered_from_llavas_prompts(prompt: str, question: str) -> None:
    assert question_of(prompt, "here") == question


@pytest.mark.parametrize(
    "prompt", ["What is it?", "USER: <image>\nWhat is it?" + SUFFIX, "OCR tokens: a. Short answer:", ""]
)
def test_any_other_prompt_is_refused(prompt: str) -> None:
    with pytest.raises(BadInput, match="here: cannot find the question"):
        question_of(prompt, "here")


def test_llavas_answers_are_matched_by_image_and_question(tmp_path: Path) -> None:
    """Its question_id is the image's, which two questions share."""
    path = write(tmp_path / "val.json", [row(1, "abc", question="What year?"), row(2, "abc"), row(3, "def")])
    questions = read(path, ImagePlaces.one(tmp_path))
    rows = [
        {"question_id": "def", "prompt": "What does the sign say?" + SUFFIX, "text": "c"},
        {"question_id": "abc", "prompt": "what does the sign say?\nReference OCR token: x" + SUFFIX, "text": "b"},
        {"question_id": "abc", "prompt": "What year?" + SUFFIX, "text": "a"},
    ]
    answers = tmp_path / "answers.jsonl"
    answers.write_text("\n".join(map(json.dumps, rows)))
    assert read_answers(answers, join(questions)) == {3: "c", 2: "b", 1: "a"}
    answers.write_text(json.dumps({**rows[0], "prompt": "What year?" + SUFFIX}))
    with pytest.raises(BadInput, match=r"line 1: no question 'what year[?]' about image 'def'"):
        read_answers(answers, join(questions))
    answers.write_text(json.dumps({"question_id": 2, "text": "own id"}))
    assert read_answers(answers, join(questions)) == {2: "own id"}
