"""POPE's file, its parse rule and its metrics, worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.questions import Files, Question
from tinyllava_core.evaluate.score.benchmarks.yes_no.pope import POPE, own_answers, parse
from tinyllava_core.evaluate.score.benchmarks.yes_no.pope import read as read_files
from tinyllava_core.evaluate.score.scoring import Scored
from tinyllava_core.evaluate.score.scoring import score as score_answers

SUFFIX = "\nAnswer the question using a single word or phrase."


def row(
    question_id: int | str, label: str = "yes", image: str = "COCO_val2014_000000310196.jpg", **more: object
) -> dict:
    return {"question_id": question_id, "image": image, "text": "Is there a dog in the image?", "label": label, **more}


def lines(path: Path, rows: list[dict]) -> Path:
    path.write_text("\n".join(json.dumps(one) for one in rows) + "\n")
    return path


def question(question_id: int, label: str, image: str = "x.jpg", category: str = "") -> Question:
    facets = (category,) if category else ()
    return Question(question_id=question_id, image=image, text="Is there?", gold=(label,), facets=facets)


def read(annotations: Path, images: ImagePlaces) -> list[Question]:
    return read_files(Files(annotations=annotations, images=images))


def score(questions: list[Question], answers: dict, variant: str = "accuracy") -> Scored:
    return score_answers(POPE, variant, questions, answers)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("No", "no"),
        ("no", "no"),
        ("not", "no"),
        ("Yes", "yes"),
        ("NO", "yes"),
        ("Not", "yes"),
        ("No!", "yes"),
        ("No\nThere is none", "yes"),
        ("\tno", "yes"),
        ("None", "yes"),
        ("", "yes"),
        ("I cannot tell", "yes"),
        ("No.", "no"),
        ("No, there is a cat", "no"),
        ("n,o", "no"),
        ("  no", "no"),
        ("There is no dog in it.", "no"),
        ("It is not there", "no"),
        ("yes and no", "no"),
        ("Yes. There is no cat.", "yes"),
        ("No. Yes.", "no"),
        (".no", "yes"),
        ("Ein Hund? Nein", "yes"),
    ],
)
def test_an_answer_is_read_as_pope_reads_it(answer: str, said: str) -> None:
    assert parse(answer) == said


def test_one_file_is_read_with_its_own_ids_and_the_suffix(tmp_path: Path) -> None:
    path = lines(tmp_path / "coco_pope_popular.json", [row(1, "no"), row(2, image="b.jpg")])
    first, second = read(path, ImagePlaces.one(tmp_path))
    assert (first.question_id, first.image, first.gold) == (1, "COCO_val2014_000000310196.jpg", ("no",))
    assert first.text == "Is there a dog in the image?" + SUFFIX
    assert (first.category, first.cluster) == ("popular", first.image)
    assert second.question_id == 2


def test_a_category_in_the_line_wins_over_the_file_name(tmp_path: Path) -> None:
    path = lines(tmp_path / "coco_pope_popular.json", [row(1, category="random")])
    assert read(path, ImagePlaces.one(tmp_path))[0].category == "random"
    assert read(lines(tmp_path / "pope.json", [row(1)]), ImagePlaces.one(tmp_path))[0].category == ""


def test_a_folder_of_splits_is_numbered_through_in_llavas_order(tmp_path: Path) -> None:
    for split in ("random", "popular", "adversarial"):
        lines(tmp_path / f"coco_pope_{split}.json", [row(1), row(2)])
    questions = read(tmp_path, ImagePlaces.one(tmp_path))
    assert [one.question_id for one in questions] == [1, 2, 10000001, 10000002, 20000001, 20000002]
    assert [one.category for one in questions] == ["adversarial"] * 2 + ["random"] * 2 + ["popular"] * 2


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (json.dumps(row(1)) + "\n{broken\n", "line 2: not JSON"),
        (json.dumps(row(1)) + "\n[1]\n", "line 2: found a JSON list"),
        (json.dumps({**row(1), "label": "maybe"}), "line 1: label = 'maybe'; expected yes or no"),
        (json.dumps({"question_id": 1, "image": "x.jpg", "text": "?"}), "line 1: key 'label' is missing"),
        (json.dumps(row(1)) + "\n" + json.dumps(row(1)), "question_id 1 occurs twice"),
        (json.dumps({**row(1), "image": None}), "line 1: image = None; expected str"),
        (json.dumps({**row(1), "question_id": 1.5}), "line 1: question_id = 1.5; expected int or str"),
        (json.dumps([row(1)], indent=1), "line 1: not JSON"),
        ("", "is empty"),
    ],
)
def test_annotations_of_another_shape_are_one_clear_line(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "pope.json").write_text(text)
    with pytest.raises(BadInput) as error:
        read(tmp_path / "pope.json", ImagePlaces.one(tmp_path))
    assert fault in str(error.value)
    assert str(tmp_path / "pope.json") in str(error.value)
    assert "\n" not in str(error.value)


def test_an_empty_folder_or_no_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no \.json file"):
        read(tmp_path, ImagePlaces.one(tmp_path))
    with pytest.raises(BadInput, match="no such file"):
        read(tmp_path / "pope.json", ImagePlaces.one(tmp_path))


def test_the_metrics_are_those_of_the_official_script() -> None:
    # yes said 5 times: 3 right, 2 wrong; no said 3 times: 2 right, 1 wrong
    labels = ["yes", "yes", "yes", "yes", "no", "no", "no", "no"]
    said = ["Yes", "Yes.", "yes", "no", "Yes", "There is one", "No", "no, none"]
    questions = [question(number, label, image=f"{number // 2}.jpg") for number, label in enumerate(labels)]
    scored = score(questions, dict(enumerate(said)))
    assert (scored.metric, scored.score) == ("accuracy", 62.5)
    assert scored.value("precision") == pytest.approx(60)
    assert scored.value("recall") == 75
    assert scored.value("f1") == pytest.approx(200 / 3)
    assert scored.value("yes_ratio") == 62.5
    assert [item.score for item in scored.items] == [1, 1, 1, 0, 0, 0, 1, 1]
    assert [item.parsed for item in scored.items] == ["yes", "yes", "yes", "no", "yes", "yes", "no", "no"]
    assert scored.num_unparsed == 1  # "There is one" is a yes by default only
    assert 0 < scored.stderr < 50
    assert all(0 < one.stderr < 50 for one in scored.subscores)
    assert all(one.ci_low <= one.value <= one.ci_high for one in scored.subscores)


def test_answers_in_any_order_are_matched_by_id() -> None:
    questions = [question(1, "yes"), question(2, "no")]
    assert score(questions, {2: "no", 1: "yes"}).score == 100


def test_only_no_said_scores_zero_f1_instead_of_dividing_by_zero() -> None:
    questions = [question(1, "yes", "a.jpg"), question(2, "no", "b.jpg")]
    scored = score(questions, {1: "no", 2: "no"})
    assert scored.score == 50
    assert [scored.value(name) for name in ("precision", "recall", "f1", "yes_ratio")] == [0, 0, 0, 0]


def test_llavas_number_is_the_mean_of_the_splits_f1() -> None:
    questions = [
        question(1, "yes", "a.jpg", "adversarial"),
        question(2, "no", "a.jpg", "adversarial"),
        question(3, "yes", "a.jpg", "popular"),
        question(4, "no", "b.jpg", "popular"),
        question(5, "yes", "b.jpg", "random"),
        question(6, "no", "b.jpg", "random"),
    ]
    scored = score(questions, {1: "yes", 2: "no", 3: "yes", 4: "yes", 5: "no", 6: "no"}, "f1")
    assert scored.value("adversarial.f1") == 100
    assert scored.value("popular.f1") == pytest.approx(200 / 3)  # precision 1/2, recall 1
    assert scored.value("random.f1") == 0
    assert (scored.metric, scored.score) == ("mean_f1", pytest.approx(500 / 9))
    assert scored.value("popular.accuracy") == 50
    assert scored.value("f1") == pytest.approx(200 / 3)  # pooled: 2 true, 1 false yes, 1 missed
    ratios = [scored.value(f"{split}.yes_ratio") for split in ("adversarial", "popular", "random")]
    assert ratios == [50, 100, 0]  # of the answers, not of the labels
    assert POPE.default == "f1"


def test_a_missing_or_a_foreign_answer_is_said() -> None:
    questions = [question(1, "yes"), question(2, "no")]
    with pytest.raises(BadInput, match=r"1 of 2 questions have none.*question_id 2"):
        score(questions, {1: "yes"})
    with pytest.raises(BadInput, match=r"1 of 3 are to no question .*question_id 3"):
        score(questions, {1: "yes", 2: "no", 3: "no"})


def test_llavas_file_has_8910_questions_and_todays_9000(tmp_path: Path) -> None:
    for home, num_random in (("llava", 2910), ("today", 3000)):
        (tmp_path / home).mkdir()
        for split, num in (("random", num_random), ("popular", 3000), ("adversarial", 3000)):
            lines(tmp_path / home / f"coco_pope_{split}.json", [row(n) for n in range(1, num + 1)])
    questions = read(tmp_path / "llava", ImagePlaces.one(tmp_path))
    ids = [*range(1, 3001), *range(10_000_001, 10_002_911), *range(20_000_001, 20_003_001)]
    assert [one.question_id for one in questions] == ids  # of llava_pope_test.jsonl
    today = read(tmp_path / "today", ImagePlaces.one(tmp_path))
    assert len(today) == 9000
    with pytest.raises(BadInput, match="90 of 9000 questions have none"):
        score(today, {one.question_id: "yes" for one in questions})


def test_popes_own_format_goes_by_order_and_holds_the_questions(tmp_path: Path) -> None:
    questions = read(lines(tmp_path / "coco_pope_random.json", [row(1), row(2, "no")]), ImagePlaces.one(tmp_path))
    asked = "Is there a dog in the image?"
    path = lines(tmp_path / "answers.json", [{"question": asked, "answer": "Yes"}, {"answer": "No"}])
    assert own_answers(path, questions) == {1: "Yes", 2: "No"}
    with pytest.raises(BadInput, match="1 answers, 2 questions"):
        own_answers(lines(path, [{"question": asked, "answer": "Yes"}]), questions)
    with pytest.raises(BadInput, match="line 2: question = 'Is there a cat"):
        own_answers(lines(path, [{"answer": "Yes"}, {"question": "Is there a cat?", "answer": "Yes"}]), questions)
