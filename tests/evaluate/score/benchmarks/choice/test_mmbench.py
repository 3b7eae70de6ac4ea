"""MMBench's TSV, circular evaluation, the two ways to find a letter, and the server's sheet, worked out by hand."""

from __future__ import annotations

import base64
import csv
from pathlib import Path

import openpyxl
import pytest

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.questions import Files, Question
from tinyllava_core.evaluate.score.benchmarks.choice.mmbench import (
    MMBENCH,
    extract,
    own_answers,
    submit,
    write_pictures,
)
from tinyllava_core.evaluate.score.scoring import score

LETTER = "\nAnswer with the option's letter from the given choices directly."
PICTURE = base64.b64encode(b"a picture" * 20).decode()
COLUMNS = [
    "index",
    "question",
    "hint",
    *"ABCD",
    "answer",
    "category",
    "image",
    "source",
    "l2-category",
    "comment",
    "split",
]


def row(index: int, answer: str = "A", **more: str) -> dict[str, str]:
    """One rotation of a question: the options are shifted right by it."""
    options = ["red", "green", "blue", "black"]
    shift = index // 1_000_000
    turned = options[-shift:] + options[:-shift] if shift else options
    given = {"index": str(index), "question": "Which colour?", "answer": answer, "image": PICTURE, "split": "dev"}
    groups = {"category": "color", "l2-category": "fine", "source": "x", "comment": "", "hint": ""}
    return {**given, **groups, **dict(zip("ABCD", turned, strict=True)), **more}


def write(path: Path, rows: list[dict[str, str]], columns: list[str] = COLUMNS) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, delimiter="\t", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def read(path: Path) -> list[Question]:
    return MMBENCH.variant(None).read(Files(annotations=path))


def question(*choices: str) -> Question:
    return Question(question_id=1, image=None, text="?", gold=("A",), choices=choices)


def test_each_rotation_is_a_question_of_the_same_group(tmp_path: Path) -> None:
    first, second = read(write(tmp_path / "dev.tsv", [row(7, hint="Look."), row(1_000_007, "B")]))
    assert first.text == "Look.\nWhich colour?\nA. red\nB. green\nC. blue\nD. black" + LETTER
    assert second.text.split("\n")[1:5] == ["A. black", "B. red", "C. green", "D. blue"]
    assert (first.image, second.image, first.gold, second.gold) == ("7.jpg", "7.jpg", ("A",), ("B",))
    assert first.cluster == second.cluster == "question 7"
    assert first.facets == ("category.color", "l2-category.fine")


@pytest.mark.parametrize("word", ["None", "NA", "nan", "", "none", "N/A", "null"])
def test_an_option_that_pandas_takes_for_missing_ends_the_options(tmp_path: Path, word: str) -> None:
    (one,) = read(write(tmp_path / "dev.tsv", [row(1, C=word)]))
    assert one.choices == ("red", "green")


def test_a_question_counts_only_if_every_rotation_is_right(tmp_path: Path) -> None:
    rows = [row(1), row(1_000_001, "B"), row(2, category="size"), row(1_000_002, "B", category="size"), row(3)]
    questions = read(write(tmp_path / "dev.tsv", rows))
    found = score(MMBENCH, None, questions, {1: "A", 1_000_001: "B", 2: "A", 1_000_002: "A", 3: "(A)"})
    assert (found.metric, found.score, found.headline.n) == ("circular_accuracy", pytest.approx(100 / 3), 3)
    assert found.value("first_rotation_accuracy") == pytest.approx(200 / 3)
    assert found.value("rotation_accuracy") == 60
    assert (found.value("category.color"), found.value("category.size")) == (50, 0)
    assert found.num_unparsed == 1  # (A) is not the letter itself
    assert score(MMBENCH, "extract", questions, {1: "A", 1_000_001: "B", 2: "A", 1_000_002: "A", 3: "(A)"}).score > 60


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("A", "A"),
        ("(B).", "B"),
        ("The correct option is C: blue", "C"),
        ("B is what I would say about this", ""),  # not among the last four words, and no text of an option
        ("B then one two three", ""),  # fifth from the end
        ("B one two three", "B"),  # fourth from the end
        ("A or B", ""),
        ("Z", "Z"),
        ("Sorry, I can't help with images of people yet. A", "Z"),
        ("Cannot determine the answer", "Z"),
        ("the answer is b", "B"),
        ("green", "B"),
        ("It is green", "B"),
        ("green or blue", ""),
        ("I believe that what one sees here is certainly of the colour green", ""),  # longer than twice all options
        ("", ""),
    ],
)
def test_vlmevalkits_extraction(text: str, letter: str) -> None:
    assert extract(text, question("red", "green", "blue", "black")) == letter


def test_only_the_options_that_there_are_can_be_found() -> None:
    assert extract("D", question("red", "green")) == ""


def test_the_sheet_for_the_server_has_the_prediction_in_seventh_place(tmp_path: Path) -> None:
    path = write(tmp_path / "test.tsv", [row(5, D="nan"), row(1_000_005, "B")])
    submit({5: "A", 1_000_005: "C"}, path, tmp_path / "upload.xlsx")
    head, first, second = openpyxl.load_workbook(tmp_path / "upload.xlsx").active.iter_rows(values_only=True)
    assert head == ("index", "question", "A", "B", "C", "D", "prediction", "answer", "split")
    assert first == (5, "Which colour?", "red", "green", "blue", None, "A", "A", "dev")
    assert second == (1_000_005, "Which colour?", "black", "red", "green", "blue", "C", "B", "dev")
    assert own_answers(tmp_path / "upload.xlsx", []) == {5: "A", 1_000_005: "C"}
    with pytest.raises(BadInput, match="1 of 2 questions have none"):
        submit({5: "A"}, path, tmp_path / "upload.xlsx")
    write(path, [row(5)], [name for name in COLUMNS if name != "comment"])
    with pytest.raises(BadInput, match="no column comment"):
        submit({5: "A"}, path, tmp_path / "upload.xlsx")


def test_the_test_split_without_answers_is_not_scored(tmp_path: Path) -> None:
    questions = read(write(tmp_path / "test.tsv", [row(5)], [name for name in COLUMNS if name != "answer"]))
    with pytest.raises(BadInput, match="not public"):
        score(MMBENCH, None, questions, {5: "A"})


def test_pictures_are_written_once_per_question_and_borrowed_ones_are_found(tmp_path: Path) -> None:
    other = base64.b64encode(b"another one" * 20).decode()
    path = write(tmp_path / "dev.tsv", [row(1), row(1_000_001, "B"), row(2, image="1"), row(3, image=other)])
    assert write_pictures(path, tmp_path / "images") == 3
    files = {file.name: file.read_bytes() for file in (tmp_path / "images").iterdir()}
    assert files == {"1.jpg": b"a picture" * 20, "2.jpg": b"a picture" * 20, "3.jpg": b"another one" * 20}
    write(path, [row(2, image="9")])
    with pytest.raises(BadInput, match="index 2 borrows a picture that no row has"):
        write_pictures(path, tmp_path / "images")


@pytest.mark.parametrize(
    ("rows", "columns", "fault"),
    [
        ([row(1)], ["index", "question", "B"], "no column A"),
        ([row(1, "C", C="None")], COLUMNS, "row 1: answer = 'C' of 2 options"),
        ([row(1), row(1)], COLUMNS, "question_id 1 occurs twice"),
        ([{**row(1), "index": "x"}], COLUMNS, "row 1: index = 'x'"),
        ([{**row(1), "index": "²"}], COLUMNS, "row 1: index = '²'"),
        ([{**row(1), "index": "9" * 5000}], COLUMNS, "row 1: index = '999"),
        ([], COLUMNS, "no rows"),
    ],
)
def test_a_table_of_another_shape_is_one_clear_line(
    tmp_path: Path, rows: list[dict[str, str]], columns: list[str], fault: str
) -> None:
    with pytest.raises(BadInput, match=fault):
        read(write(tmp_path / "dev.tsv", rows, columns))
