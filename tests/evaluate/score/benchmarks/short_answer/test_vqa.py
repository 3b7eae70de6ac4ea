"""VQAv2's files, its variants and its upload file. The texts' rules are in test_vqa_text.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.questions import Files, Question
from tinyllava_core.evaluate.score.benchmarks.short_answer.vqa import VQA, own_answers, submit
from tinyllava_core.evaluate.score.scoring import Scored, score

SUFFIX = "\nAnswer the question using a single word or phrase."


def humans(*answers: str) -> list[dict]:
    """Ten people's answers; the last is repeated."""
    given = [*answers, *[answers[-1]] * (10 - len(answers))]
    return [{"answer": text, "answer_confidence": "yes", "answer_id": n} for n, text in enumerate(given, start=1)]


def annotation(question_id: int, *answers: str, image_id: int = 42, kind: str = "other", **more: object) -> dict:
    return {
        "question_type": "what is",
        "answer_type": kind,
        "multiple_choice_answer": answers[-1],
        "image_id": image_id,
        "question_id": question_id,
        "answers": humans(*answers),
        **more,
    }


def write(folder: Path, rows: list[dict], subtype: str = "val2014") -> Path:
    """Write both official files."""
    folder.mkdir(exist_ok=True)
    asked = [
        {"image_id": row["image_id"], "question": f"What is {row['question_id']}?", "question_id": row["question_id"]}
        for row in rows
    ]
    head = {"info": {}, "data_subtype": subtype, "license": {}}
    (folder / f"v2_mscoco_{subtype}_annotations.json").write_text(json.dumps({**head, "annotations": rows}))
    (folder / f"v2_OpenEnded_mscoco_{subtype}_questions.json").write_text(json.dumps({**head, "questions": asked}))
    return folder


def read(path: Path, **more: object) -> list[Question]:
    return VQA.variant(None).read(Files(annotations=path, **more))


def scored(path: Path, answers: dict, variant: str | None = None) -> Scored:
    return score(VQA, variant, read(path), answers)


def test_both_official_files_are_read_from_one_folder(tmp_path: Path) -> None:
    (one,) = read(write(tmp_path, [annotation(420, "yes", kind="yes/no")]))
    assert (one.question_id, one.image) == (420, "COCO_val2014_000000000042.jpg")
    assert one.text == "What is 420?" + SUFFIX
    assert one.gold == ("yes",) * 10
    assert one.facets == ("answer_type.yes/no", "question_type.what is")


def test_to_score_the_wording_is_not_needed_and_to_ask_it_is(tmp_path: Path) -> None:
    write(tmp_path, [annotation(1, "yes")])
    path, asked = sorted(tmp_path.iterdir(), reverse=True)
    assert read(path, asking=False)[0].text == ""
    with pytest.raises(BadInput, match="the questions file is needed to ask"):
        read(path)
    assert read(path, questions=asked)[0].text == "What is 1?" + SUFFIX


def test_the_variants_differ_where_ten_people_agree(tmp_path: Path) -> None:
    """Official: `Yes` against ten `yes` scores 0. LLaVA hides it, and loses `t-shirt`. lmms-eval always normalises."""
    path = write(tmp_path, [annotation(1, "yes"), annotation(2, "t-shirt"), annotation(3, *["yes"] * 9, "no")])
    said = {1: "Yes", 2: "t-shirt", 3: "Yes"}
    values = {name: [item.score for item in scored(path, said, name).items] for name in VQA.variants}
    assert values == {"llava": [1, 0, 1], "official": [0, 1, 1], "lmms-eval": [1, 1, 1]}
    assert VQA.default == "llava"


def test_accuracy_is_leave_one_out_overall_and_by_type(tmp_path: Path) -> None:
    rows = [
        annotation(1, *["two"] * 3, "many", image_id=1, kind="number"),  # .9
        annotation(2, *["red"] * 2, "blue", image_id=1),  # .6
        annotation(3, "cat", "dog", image_id=2, question_type="is it"),  # .3
        annotation(4, "dog", image_id=3),  # 0
    ]
    found = scored(write(tmp_path, rows), {1: "2", 2: "Red.", 3: "a cat", 4: "a"})
    assert [item.score for item in found.items] == pytest.approx([0.9, 0.6, 0.3, 0])
    assert [item.parsed for item in found.items] == ["2", "red", "cat", ""]
    assert (found.metric, found.score) == ("accuracy", pytest.approx(45))
    assert found.value("answer_type.number") == pytest.approx(90)
    assert found.value("answer_type.other") == pytest.approx(30)
    assert found.value("question_type.is it") == pytest.approx(30)
    assert (found.headline.num_clusters, found.num_unparsed) == (3, 1)
    # by picture: deviations .6, -.15, -.45 of sums; sqrt(3/2 * (.36 + .0225 + .2025)) / 4
    assert found.stderr == pytest.approx(100 * (1.5 * 0.585) ** 0.5 / 4)


def test_the_answers_must_be_those_of_the_annotations(tmp_path: Path) -> None:
    path = write(tmp_path, [annotation(1, "yes"), annotation(2, "yes")])
    with pytest.raises(
        BadInput, match=r"2 of 2 are to no question .* 2 of 2 questions have none\); is it the same split"
    ):
        scored(path, {3: "yes", 4: "yes"})


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"answers": [{**one, "answer_id": 1} for one in humans("yes")]}, "an answer_id occurs twice"),
        ({"answers": [{"answer": "yes"}]}, "expected objects with answer and answer_id"),
        ({"question_id": "1"}, "question_id = '1'; expected int"),
        ({"image_id": None}, "image_id = None"),
    ],
)
def test_annotations_of_another_shape_are_one_clear_line(tmp_path: Path, change: dict, fault: str) -> None:
    write(tmp_path, [annotation(1, "yes")])
    path = tmp_path / "v2_mscoco_val2014_annotations.json"
    path.write_text(json.dumps({"annotations": [{**annotation(1, "yes"), **change}]}))
    with pytest.raises(BadInput) as error:
        read(path, asking=False)
    assert fault in str(error.value)
    assert "[0]" in str(error.value)


@pytest.mark.parametrize("at", [b"answer_type", b"other", b"val2014", b"question_id"])
def test_bytes_that_are_no_text_are_one_clear_line(tmp_path: Path, at: bytes) -> None:
    """In a row's key, in its value, in the split's name: two readers meet them."""
    path = write(tmp_path, [annotation(1, *["red"] * 10)])
    file = path if path.is_file() else next(path.glob("*annotations.json"))
    file.write_bytes(file.read_bytes().replace(at, at[:1] + b"\xff" + at[2:]))
    with pytest.raises(BadInput, match=r"byte \d+ is not UTF-8"):
        read(path)


def test_two_files_of_different_splits_are_told(tmp_path: Path) -> None:
    write(tmp_path / "a", [annotation(1, "yes")])
    write(tmp_path / "b", [annotation(2, "yes")])
    asked = tmp_path / "b" / "v2_OpenEnded_mscoco_val2014_questions.json"
    with pytest.raises(BadInput, match="question_id 1 is not among the questions"):
        read(tmp_path / "a" / "v2_mscoco_val2014_annotations.json", questions=asked)


def test_the_upload_file_covers_every_id_and_is_normalised_as_llava_does(tmp_path: Path) -> None:
    path = write(tmp_path, [annotation(n, "yes") for n in (7, 8, 9)], "test2015")
    asked = path / "v2_OpenEnded_mscoco_test2015_questions.json"
    (path / "v2_mscoco_test2015_annotations.json").unlink()
    submit({9: "1,000 t-shirts", 7: "Yes."}, asked, tmp_path / "upload.json")
    assert json.loads((tmp_path / "upload.json").read_text()) == [
        {"question_id": 7, "answer": "yes"},
        {"question_id": 8, "answer": ""},
        {"question_id": 9, "answer": "1000 t shirts"},
    ]
    with pytest.raises(BadInput, match="1 are to no question"):
        submit({10: "x"}, asked, tmp_path / "upload.json")
    lines = tmp_path / "llava.jsonl"
    lines.write_text('{"question_id": 7, "image": "x.jpg", "text": "?"}\n')
    submit({7: "A dog"}, lines, tmp_path / "upload.json")
    assert json.loads((tmp_path / "upload.json").read_text()) == [{"question_id": 7, "answer": "dog"}]


def test_the_test_split_is_asked_and_not_scored(tmp_path: Path) -> None:
    path = write(tmp_path, [annotation(7, "yes")], "test2015")
    (path / "v2_mscoco_test2015_annotations.json").unlink()
    (one,) = read(path)
    assert (one.image, one.gold) == ("COCO_test2015_000000000042.jpg", ())
    with pytest.raises(BadInput, match="not public"):
        scored(path, {7: "yes"})


def test_vqas_own_result_format_is_read(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps([{"question_id": 1, "answer": "yes"}, {"question_id": 2, "answer": "no"}]))
    assert own_answers(path, []) == {1: "yes", 2: "no"}
    path.write_text(json.dumps([{"question_id": 1, "answer": "yes"}] * 2))
    with pytest.raises(BadInput, match=r"\[1\]: question_id 1 occurs twice"):
        own_answers(path, [])
