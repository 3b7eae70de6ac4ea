"""A folder of answer files: one table, every pair, and the questions that stand out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmark_samples import write_lines

from tinyllava_core import cli
from tinyllava_core.evaluate.compare.batch import contradictory

NUM = 60


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three models on 60 yes/no questions about 30 pictures: right in 60, 58 and 20; question 0 wrong by all but none."""
    rows = [{"question_id": n, "image": f"{n // 2}.jpg", "text": f"Is {n}?", "label": "no"} for n in range(NUM)]
    write_lines(tmp_path / "pope.json", rows)
    for model, wrong in (("good", {0}), ("nearly", {0, 1, 2}), ("<bad>", set(range(40)))):
        said = [{"question_id": n, "prompt": f"Is {n}?", "text": "Yes" if n in wrong else "No"} for n in range(NUM)]
        write_lines(tmp_path / "answers" / f"{model}.jsonl", said)
    blind = [{"question_id": n, "text": "No" if n == 5 else "Yes"} for n in range(NUM)]
    write_lines(tmp_path / "blind.jsonl", blind)
    return tmp_path


def run(folder: Path, *words: object) -> int:
    fixed = ["--batch", folder / "answers", "--annotations", folder / "pope.json", "--variant", "accuracy"]
    return cli.main(["score", "pope", *map(str, [*fixed, *words])])


def test_models_are_ranked_and_every_pair_has_a_verdict(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "--blind", folder / "blind.jsonl", "--out", folder / "table.json") == 0
    out = capsys.readouterr().out
    told = json.loads((folder / "table.json").read_text())
    assert list(told["models"]) == ["good", "nearly", "<bad>"]
    assert told["models"]["good"]["value"] == pytest.approx(100 * 59 / 60)
    verdicts = {(pair["first_model"], pair["second_model"]): pair["verdict"] for pair in told["pairs"]}
    assert verdicts == {
        ("nearly", "good"): "within noise",
        ("<bad>", "good"): "second is better",
        ("<bad>", "nearly"): "second is better",
    }
    assert told["flags"] == [
        {"question_id": 0, "why": "wrong by every model"},
        {"question_id": 5, "why": "right without the picture"},
    ]
    assert "good is better" in out
    assert "wrong by every model" in out


def test_the_page_is_one_file_and_names_are_no_markup(folder: Path) -> None:
    assert run(folder, "--out", folder / "table.html") == 0
    page = (folder / "table.html").read_text()
    assert "&lt;bad&gt;" in page
    assert "<bad>" not in page
    assert "http" not in page


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--answers", "x.jsonl"], "--batch or --answers, not both"),
        (["--out", "table.txt"], "expected a name that ends in .json or .html"),
        (["--submission", "x.json"], "--submission is for one answer file"),
    ],
)
def test_words_that_do_not_go_together_are_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], fault: str
) -> None:
    assert run(folder, *words) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert fault in err


def test_a_folder_without_answers_or_with_a_broken_one_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "answers" / "good.jsonl").write_text('{"question_id": 0}\n')
    assert run(folder) == 2
    assert "good.jsonl, line 1: key 'text' is missing" in capsys.readouterr().err
    for path in (folder / "answers").iterdir():
        path.unlink()
    assert run(folder) == 2
    assert "0 answer files" in capsys.readouterr().err


def test_people_contradict_each_other_where_no_answer_has_four_of_them() -> None:
    assert contradictory(["2", "two", "2", "3", "3", "3", "4", "5", "6", "7"])  # three at most
    assert not contradictory(["2", "two", "2", "zwei", "2.", "3", "3", "4", "5", "6"])  # four say 2
    assert not contradictory(["yes"])
