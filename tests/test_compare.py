"""`tinyllava compare`: two score files, or two runs of the lineage."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
import small_workspace
from small_workspace import BLIND, SEEN

from tinyllava_core import cli
from tinyllava_core.lineage.store import publish


def score(folder: Path, name: str, texts: list[str], prompt: str = "?") -> Path:
    """Score answers to eight questions about eight pictures."""
    rows = [{"question_id": n, "image": f"{n}.jpg", "text": "?", "label": "yes"} for n in range(8)]
    (folder / "pope.json").write_text("\n".join(map(json.dumps, rows)))
    answers = [{"question_id": n, "prompt": prompt, "text": text} for n, text in enumerate(texts)]
    (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, answers)))
    out = folder / f"{name}.json"
    words = ["--answers", str(folder / f"{name}.jsonl"), "--annotations", str(folder / "pope.json")]
    assert cli.main(["score", "pope", *words, "--variant", "accuracy", "--out", str(out)]) == 0
    return out


def test_two_score_files_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = score(tmp_path, "a", ["no"] * 8), score(tmp_path, "b", ["yes"] * 8)
    capsys.readouterr()
    assert cli.main(["compare", str(first), str(second), "--format", "csv"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (row["benchmark"], row["metric"], row["first"], row["second"]) == ("pope", "accuracy", "0.00", "100.00")
    assert (row["difference"], row["n"], row["verdict"]) == ("+100.00", "8 in 8", "second is better")
    assert float(row["p"]) == pytest.approx(2 / 256, abs=0.006)


def test_a_difference_within_noise_is_said_to_be_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = score(tmp_path, "a", ["yes"] * 8), score(tmp_path, "b", ["no", *["yes"] * 7], prompt="other: ?")
    capsys.readouterr()
    assert cli.main(["compare", str(first), str(second), "--format", "json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["difference"], told["verdict"], told["p_value"]) == (-12.5, "within noise", 1)
    assert told["notes"] == ["asked with different prompts"]
    for path, judge in ((first, "gpt-x (reported a), prompts 1"), (second, "gpt-x (reported b), prompts 1")):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"judge": judge}))
    assert cli.main(["compare", str(first), str(second), "--format", "json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["notes"][0] == "different judges: gpt-x (reported a), prompts 1 against gpt-x (reported b), prompts 1"


def test_two_runs_of_the_lineage_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = small_workspace.make(tmp_path / "workspace")
    for fingerprint, right in ((SEEN, (1.0, 1.0)), (BLIND, (0.0, 1.0))):
        columns = "question_id image answer parsed score cluster facets counts unparsed"
        rows = [(n, f"{n}.png", "yes", "yes", value, f"{n}.png", [], [], False) for n, value in enumerate(right)]
        small_workspace.jsonl(home, "evaluate", fingerprint, "items", small_workspace.named(columns, *rows))
    small_workspace.leave_run(home, "run-2", "2026-01-02T10:00:00+00:00")
    publish(home)
    assert cli.main(["compare", "run-1", "run-2", "--workspace", str(home), "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["benchmark"], row["first"], row["second"], row["verdict"]) for row in rows] == [
        ("pope", "100.00", "100.00", "within noise"),
        ("pope blind", "50.00", "50.00", "within noise"),
    ]
    small_workspace.leave_run(home, "begun", "2026-01-03T10:00:00+00:00", scores=())
    publish(home)
    for words in (["run-1", "latest"], ["run-1", "run-2"]):
        assert cli.main(["compare", *words, "--workspace", str(home), "--format", "csv"]) == 0
        assert list(csv.DictReader(io.StringIO(capsys.readouterr().out))) == rows
    for word, fault in (
        ("run", "run 'run' can be run-2, run-1: give more letters"),
        ("beg", "run begun has no scores"),
    ):
        assert cli.main(["compare", "run-1", word, "--workspace", str(home)]) == 2
        assert fault in capsys.readouterr().err


def test_wrong_input_is_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = small_workspace.make(tmp_path / "workspace")
    mine = score(tmp_path, "a", ["no"] * 8)
    other = json.loads(mine.read_text()) | {"variant": "f1"}
    (tmp_path / "b.json").write_text(json.dumps(other))
    (tmp_path / "b.items.jsonl").write_text((tmp_path / "a.items.jsonl").read_text())
    (tmp_path / "c.json").write_text(mine.read_text())
    capsys.readouterr()
    for first, second, fault in (
        ("run-9", "run-1", "no run 'run-9'"),
        (tmp_path / "pope.json", mine, "line 2: not JSON"),
        (tmp_path / "c.json", mine, "c.items.jsonl: no such file; keep it beside"),
        (mine, tmp_path / "b.json", "pope: pope accuracy against pope f1; score both the same way"),
        (mine, tmp_path / "nowhere.json", "nowhere.json: no such file"),
    ):
        assert cli.main(["compare", str(first), str(second), "--workspace", str(home)]) == 2
        out, err = capsys.readouterr()
        assert fault in err
        assert (out, err.count("\n")) == ("", 1)
