"""MME's folders, its four-character rule, its pairs and its sums, worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tinyllava_core.errors import BadInput
from tinyllava_core.evaluate.questions.answers import read_answers
from tinyllava_core.evaluate.questions.questions import Files, Question
from tinyllava_core.evaluate.score.benchmarks.yes_no.mme import COGNITION, MME, PERCEPTION, join, own_answers, parse
from tinyllava_core.evaluate.score.scoring import score

SUFFIX = "\nAnswer the question using a single word or phrase."
TASKS = (*PERCEPTION, *COGNITION)


def write(root: Path, pictures: int = 1) -> Path:
    """Write all 14 tasks, `pictures` each; posters in two folders, as the release has some."""
    for task in TASKS:
        texts = root / task / "questions_answers_YN" if task == "posters" else root / task
        images = root / task / "images" if task == "posters" else root / task
        texts.mkdir(parents=True, exist_ok=True)
        images.mkdir(parents=True, exist_ok=True)
        for n in range(pictures):
            (images / f"{n}.png").touch()
            (texts / f"{n}.txt").write_text(
                f"Is {n} a cat? Please answer yes or no.\tYes\nIs {n} a dog?  Please answer yes or no.\tNo\n"
            )
    return root


def read(root: Path) -> list[Question]:
    return MME.variant(None).read(Files(annotations=root))


def answers(questions: list[Question], **changed: str) -> dict:
    """Right answers to all, but for those of the tasks given: all of these get that text."""
    return {one.question_id: changed.get(one.category, one.gold[0]) for one in questions}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Yes", "yes"),
        ("yes, it is", "yes"),
        ("No.", "no"),
        ("Not sure", "no"),
        ("None", "no"),
        ("know", "no"),
        ("The answer is yes", "other"),
        ("", "other"),
        ("Y", "other"),
        (" yes", "yes"),
        ("  yes", "other"),  # nothing is stripped: the fourth character is e
        ("yes\n", "yes"),
        ("noyes", "no"),
        ("yno", "no"),
    ],
)
def test_the_first_four_characters_decide(text: str, said: str) -> None:
    assert parse(text) == said


def test_the_folders_are_read_and_asked_as_llava_asks(tmp_path: Path) -> None:
    questions = read(write(tmp_path))
    assert len(questions) == 28
    first, second = questions[:2]
    assert (first.question_id, second.question_id) == ("existence/0.png:1", "existence/0.png:2")
    assert first.text == "Is 0 a cat?" + SUFFIX
    assert (first.gold, second.gold, first.cluster) == (("yes",), ("no",), second.cluster)
    assert next(one.image for one in questions if one.category == "posters") == "posters/images/0.png"


def test_all_right_is_2000_and_800(tmp_path: Path) -> None:
    questions = read(write(tmp_path, 2))
    for variant, most in (("perception", 2000), ("cognition", 800)):
        scored = score(MME, variant, questions, answers(questions))
        assert (scored.metric, scored.score, scored.headline.max_score) == (variant, most, most)
    assert MME.default == "perception"


def test_a_task_scores_accuracy_plus_the_share_of_pictures_with_both_right(tmp_path: Path) -> None:
    questions = read(write(tmp_path, 2))
    said = answers(questions, code_reasoning="The answer is yes")  # other: wrong
    said |= {"OCR/0.png:2": "yes", "count/0.png:1": "no", "count/1.png:1": "Not sure"}
    scored = score(MME, None, questions, said)
    assert (scored.value("OCR.accuracy"), scored.value("OCR.accuracy+"), scored.value("OCR")) == (75, 50, 125)
    assert (scored.value("count.accuracy"), scored.value("count.accuracy+"), scored.value("count")) == (50, 0, 50)
    assert scored.score == 2000 - 75 - 150
    assert scored.value("cognition") == 600
    assert (scored.num_unparsed, scored.headline.num_clusters) == (4, 20)


def test_the_error_bar_draws_pictures(tmp_path: Path) -> None:
    """One task, two pictures, one all right, one all wrong: 200, 100 or 0 with 1/4, 1/2, 1/4."""
    questions = read(write(tmp_path, 2))
    said = answers(questions) | {"OCR/0.png:1": "no", "OCR/0.png:2": "yes"}
    found = next(one for one in score(MME, None, questions, said).subscores if one.name == "OCR")
    assert (found.value, found.max_score, found.n, found.num_clusters) == (100, 200, 4, 2)
    assert found.stderr == pytest.approx(200 * 0.125**0.5, rel=0.05)


def test_llavas_answers_are_matched_by_prompt_one_space_or_two(tmp_path: Path) -> None:
    questions = read(write(tmp_path))
    rows = [
        {"question_id": "OCR/0.png", "prompt": "Is 0 a dog?" + SUFFIX, "text": "No"},
        {"question_id": "OCR/0.png", "prompt": "Is 0 a cat?" + SUFFIX, "text": "Yes"},
        {"question_id": "count/0.png:2", "prompt": "anything", "text": "own id"},
    ]
    path = tmp_path / "answers.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert read_answers(path, join(questions)) == {"OCR/0.png:2": "No", "OCR/0.png:1": "Yes", "count/0.png:2": "own id"}
    path.write_text(json.dumps({**rows[0], "prompt": "Is 0 a cow?" + SUFFIX}))
    with pytest.raises(
        BadInput, match=r"line 1: no question 'Is 0 a cow\? Please answer yes or no\.' about 'OCR/0.png'"
    ):
        read_answers(path, join(questions))


def results(folder: Path, lines: list[str]) -> Path:
    folder.mkdir(exist_ok=True)
    for task in TASKS:
        (folder / f"{task}.txt").write_text("\n".join(lines) + "\n")
    return folder


CAT = "0.txt\tIs 0 a cat? Please answer yes or no.\tYes\tyes"
DOG = "0.txt\tIs 0 a dog?  Please answer yes or no.\tNo\tno"


def test_mmes_own_result_folder_is_read(tmp_path: Path) -> None:
    questions = read(write(tmp_path / "mme"))
    told = own_answers(results(tmp_path / "results", [CAT, DOG]), questions)
    assert len(told) == 28
    assert score(MME, None, questions, told).score == 2000


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ([CAT + "\tmore", DOG], "line 1: 5 columns"),
        ([CAT, "and on"], "line 2: 1 columns"),
        ([CAT, CAT], "line 2: question existence/0.png:1 occurs twice"),
        ([CAT.replace("cat", "cow"), DOG], "line 1: no question 'Is 0 a cow"),
        ([CAT, CAT.replace("0", "1"), DOG, DOG.replace("0", "1")], "line 2: pairs are consecutive lines"),
    ],
)
def test_a_broken_result_folder_names_file_and_line(tmp_path: Path, lines: list[str], fault: str) -> None:
    questions = read(write(tmp_path / "mme", 2))
    with pytest.raises(BadInput) as error:
        own_answers(results(tmp_path / "results", lines), questions)
    assert fault in str(error.value)
    assert "existence.txt" in str(error.value)


def test_a_release_with_a_task_missing_is_another_benchmark(tmp_path: Path) -> None:
    write(tmp_path)
    for file in (tmp_path / "OCR").iterdir():
        file.unlink()
    (tmp_path / "OCR").rmdir()
    with pytest.raises(BadInput, match="no folder for OCR; expected MME_Benchmark_release_version"):
        read(tmp_path)


def test_a_text_with_one_question_is_told(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "OCR" / "0.txt").write_text("Is it?\tYes\n")
    with pytest.raises(BadInput, match=r"0\.txt: 1 lines; expected two questions"):
        read(tmp_path)
    (tmp_path / "OCR" / "0.txt").write_text("Is it?\tYes\nIs it not?\tmaybe\n")
    with pytest.raises(BadInput, match=r"0\.txt, line 2"):
        read(tmp_path)
