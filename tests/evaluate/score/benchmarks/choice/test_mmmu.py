"""MMMU's files and its two parsers, worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.questions import Files, Question
from tinyllava_core.evaluate.score.benchmarks.choice.mmmu import (
    DISCIPLINES,
    MMMU,
    normalise,
    own_answers,
    parse_choice,
    parse_open,
    random_choice,
    right_open,
    submit,
)
from tinyllava_core.evaluate.score.scoring import score

CHOICES = ("an oak", "a pine", "a birch")


def write(folder: Path, *rows: tuple[str, str, object]) -> Path:
    """Write both files: (id, type, right answer)."""
    truths = {name: {"question_type": kind, "ground_truth": truth} for name, kind, truth in rows}
    asked = [
        {
            "id": name,
            "question_type": kind,
            "prompt": f"{name}?",
            "image": f"{name}.png",
            "all_choices": ["A", "B", "C"] if kind == "multiple-choice" else [],
            "index2ans": dict(zip("ABC", CHOICES, strict=True)) if kind == "multiple-choice" else {},
        }
        for name, kind, _ in rows
    ]
    (folder / "answer_dict_val.json").write_text(json.dumps(truths))
    (folder / "anns_for_eval.json").write_text(json.dumps(asked))
    return folder


def read(path: Path, **more: object) -> list[Question]:
    return MMMU.variant(None).read(Files(annotations=path, **more))


ROWS = [
    ("validation_Accounting_1", "multiple-choice", "B"),
    ("validation_Basic_Medical_Science_12", "open", ["0.33", "a third"]),
]


def test_there_are_30_subjects_in_6_disciplines() -> None:
    assert len(DISCIPLINES) == 6
    assert sum(len(subjects.split()) for subjects in DISCIPLINES.values()) == 30


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("B", "B"),
        ("(B)", "B"),
        ("B.", "B"),
        ("'B'", "B"),
        ("The answer is (A), not (C)", "C"),  # several: the last one
        ("A or maybe B it is", "B"),
        ("(A) B", "A"),  # brackets first
        ("I think it must be a pine tree here", "B"),  # more than five words: text of an option
        ("a pine", ""),  # five words or fewer: not looked for
        ("It is not an oak but rather a birch", "C"),
        ("b", ""),
        ("A,. ", ""),  # spaces are no mark, so nothing is stripped, and `A,.` is no letter of its own
        ("A,.", ""),  # each mark is stripped once, in turn: the comma stays
        ("A.,", "A"),
        ("", ""),
    ],
)
def test_a_choice_is_read_as_the_official_parser_does(reply: str, letter: str) -> None:
    assert parse_choice(reply, CHOICES) == letter


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("The result is 42.", [42.0]),
        (".5", [5.0]),  # the full stops at both ends go first
        ("x = 1,234.5", [1234.5, 1234.0, 234.5]),  # the patterns of commas and of plain numbers find parts of it
        ("so it is 3\nthus y = 2.007", [3.0, 2.01]),
        ("Paris", ["paris"]),
        ("The answer is B", [" b", "b "]),
        ("1e3", [1000.0, 3.0]),
        ("it is:", ["it is:"]),
    ],
)
def test_an_open_reply_is_read_as_the_official_parser_does(reply: str, said: list) -> None:
    assert parse_open(reply) == said


def test_only_the_last_line_may_be_an_equation_and_the_shortest_tail_counts() -> None:
    assert parse_open("a = 7\nso the final value is 8") == [8.0]
    assert parse_open("this is so it could be nine") == ["nine"]
    assert parse_open("One. Two is big") == ["big"]  # lower-cased first, so sentences are never cut


def test_answers_are_rounded_lowered_and_single_letters_padded() -> None:
    assert normalise(" 1,234.567 ") == [1234.57]
    assert normalise("Oak ") == ["oak"]
    assert normalise("X") == [" x", "x "]


@pytest.mark.parametrize(
    ("reply", "gold", "right"),
    [
        ("The area is 24.0 cm", ["24"], True),
        ("24", ["24.004"], True),
        ("24", ["25"], False),
        ("It is the mitral valve", ["Mitral Valve"], True),
        ("mitral", ["mitral valve"], False),
        ("so x", ["x"], True),
        ("so the x axis", ["x"], True),
        ("so the axis", ["x"], False),  # a single letter is not found inside a word
    ],
)
def test_an_open_answer_is_right_if_contained_or_equal(reply: str, gold: list[str], right: bool) -> None:
    assert right_open(reply, gold) is right


def test_both_kinds_are_scored_by_discipline_and_subject(tmp_path: Path) -> None:
    questions = read(write(tmp_path, *ROWS))
    assert questions[0].text == "validation_Accounting_1?"
    found = score(MMMU, None, questions, {ROWS[0][0]: "B", ROWS[1][0]: "It is 0.333"})
    assert found.score == 100
    assert {one.name: one.value for one in found.subscores} == {
        "discipline.Business": 100,
        "discipline.Health and Medicine": 100,
        "subject.Accounting": 100,
        "subject.Basic_Medical_Science": 100,
        "type.multiple-choice": 100,
        "type.open": 100,
    }


def test_the_random_choice_depends_on_the_seed_and_the_question_alone(tmp_path: Path) -> None:
    rows = [(f"validation_Math_{n}", "multiple-choice", "A") for n in range(1, 31)]
    questions = read(write(tmp_path, *rows))
    said = {one.question_id: "no idea" for one in questions}
    first = score(MMMU, None, questions, said)
    assert first.num_unparsed == 30
    letters = [item.parsed for item in first.items]
    assert set(letters) == {"A", "B", "C"}
    changed = score(MMMU, None, questions, said | {"validation_Math_1": "A"})
    assert [item.parsed for item in changed.items][1:] == letters[1:]  # whatever else was answered
    assert letters == [random_choice(one) for one in questions]


def test_the_official_result_format_is_letters_and_replies(tmp_path: Path) -> None:
    write(tmp_path, *ROWS)
    questions = read(tmp_path / "answer_dict_val.json", asking=False)  # without options a letter is taken as it is
    path = tmp_path / "output.json"
    path.write_text(json.dumps({ROWS[0][0]: "B", ROWS[1][0]: "A third"}))
    assert score(MMMU, None, questions, own_answers(path, questions)).score == 100
    with pytest.raises(BadInput, match="the prompts are needed to ask"):
        read(tmp_path / "answer_dict_val.json")


def test_the_upload_file_holds_letters_and_replies(tmp_path: Path) -> None:
    write(tmp_path, *ROWS)
    (tmp_path / "answer_dict_val.json").unlink()
    questions = read(tmp_path)
    with pytest.raises(BadInput, match="not public"):
        score(MMMU, None, questions, {name: "x" for name, _, _ in ROWS})
    submit({ROWS[0][0]: "(C)", ROWS[1][0]: "one third"}, tmp_path, tmp_path / "upload.json")
    assert json.loads((tmp_path / "upload.json").read_text()) == {ROWS[0][0]: "C", ROWS[1][0]: "one third"}


def test_files_of_another_shape_are_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"a": 1}')
    with pytest.raises(BadInput, match="neither"):
        read(tmp_path / "x.json")
    write(tmp_path, ("validation_Alchemy_1", "open", "x"))
    with pytest.raises(BadInput, match="no subject 'Alchemy'"):
        read(tmp_path)
    write(tmp_path, *ROWS)
    (tmp_path / "answer_dict_val.json").write_text(
        json.dumps({ROWS[0][0]: {"question_type": "open", "ground_truth": "x"}})
    )
    with pytest.raises(BadInput, match="1 answers and 2 prompts, of different questions"):
        read(tmp_path)
