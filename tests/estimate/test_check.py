"""`tinyllava check`: one screen for toy and base, from a plan where there is one, else from what is expected."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from planned import plan_toy

from tinyllava_core import cli
from tinyllava_core.estimate.cached import find_plan, is_here
from tinyllava_core.recipe import Recipe, load


def told(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, dict[str, str]]:
    assert cli.main(["check", *words, "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    return {row.pop(""): row for row in rows}


def test_base_is_told_from_the_published_counts(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = told(capsys, "base", "--workspace", str(tmp_path))
    assert rows["records"] == {"pretrain": "558,128", "sft": "665,298"}
    assert rows["steps"] == {"pretrain": "2,181", "sft": "5,198"}
    assert rows["voided"] == {"pretrain": "known with the plan", "sft": "known with the plan"}
    assert rows["vision, 428,225,600"] == {"pretrain": "frozen", "sft": "frozen"}
    assert rows["connector, 9,507,840"] == {"pretrain": "9,507,840", "sft": "9,507,840"}
    assert rows["language, 2,779,683,840"] == {"pretrain": "frozen", "sft": "2,779,683,840"}
    assert rows["trained"] == {"pretrain": "9,507,840", "sft": "2,789,191,680"}
    assert {"GB on each of 8 GPUs, ZeRO-2", "A100-hours at 40%"} <= set(rows)


def test_what_asking_a_model_would_take_is_priced_by_the_users_own_prices(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """One picture a record: 558,128 of 40 / 4 + 576 tokens sent, and of 100 back: 327.1 M x 0.5 + 55.8 M x 2 = 275.16."""
    (prompt := tmp_path / "describe.txt").write_text("Describe this picture in three sentences")
    words = ["base", "--workspace", str(tmp_path), "--recaption", str(prompt)]
    rows = told(capsys, *words, "--max-tokens", "100", "--picture-tokens", "576", "--price", "0.5", "2")
    assert rows["recaption: requests"]["pretrain"] == "558,128, expected"
    assert rows["recaption: tokens sent, about"]["pretrain"] == "327.1 M"
    assert rows["recaption: tokens back, at most"]["pretrain"] == "55.8 M"
    assert rows["recaption: price, at most"]["pretrain"] == "275.16"
    rows = told(capsys, *words)
    assert rows["recaption: tokens sent, about"]["pretrain"] == "5.6 M + 558,128 pictures"
    assert "recaption: price, at most" not in rows


def test_what_does_not_fit_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ("base", "--set", "launch.processes=1", "--gpu", "A10", "--workspace", str(tmp_path))
    assert told(capsys, *words)["GB on each of 1 GPUs, ZeRO-2"]["sft"].endswith(": more than 24")


def test_one_screen_with_its_sources(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["check", "share", "--workspace", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 30
    assert all(len(line) <= 120 for line in lines)
    assert lines[1] == "pretrain        estimate from estimate/lengths.yaml"


def test_what_to_ask_next_has_the_same_settings(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Or doctor would tell of another tree than the one that was checked."""
    words = ("base", "--workspace", str(tmp_path), "--set", f"data.root={tmp_path}", "evaluate.benchmarks=[mme]")
    assert cli.main(["check", *words]) == 0
    asked = f"`tinyllava doctor base --set data.root={tmp_path} 'evaluate.benchmarks=[mme]'`"
    assert asked in capsys.readouterr().out


@pytest.fixture
def workspace(tmp_path: Path) -> tuple[Path, Recipe]:
    """A workspace in which toy's sft is planned: six records with one image, two steps of three."""
    return tmp_path, plan_toy(tmp_path)


def test_a_stages_plan_is_found_by_what_it_was_made_for(workspace: tuple[Path, Recipe]) -> None:
    home, recipe = workspace
    found = find_plan(home, recipe, "sft")
    assert found is not None
    assert found.parent == home / "artifacts" / "plan"
    assert find_plan(home, recipe, "pretrain") is None
    for other in ({"sft.max_length": 80}, {"seed": 7}, {"sft.mix": [{"source": "toy-chat"}]}):
        changed = load("toy", {"sft.global_batch": 3, "sft.max_length": 64} | other)
        assert find_plan(home, changed, "sft") is None, other


def test_a_plan_is_told_as_it_is(capsys: pytest.CaptureFixture[str], workspace: tuple[Path, Recipe]) -> None:
    words = ["check", "toy", "--set", "sft.global_batch=3", "sft.max_length=64"]
    assert cli.main([*words, "--workspace", str(workspace[0])]) == 0
    out = capsys.readouterr().out
    assert "sft             plan " in out
    assert "pretrain        estimate from estimate/lengths.yaml; unknown to it: toy-captions" in out
    rows = told(capsys, *words[1:], "--workspace", str(workspace[0]))
    assert (rows["records"]["sft"], rows["steps"]["sft"], rows["images"]["sft"]) == ("6", "2", "6")
    assert rows["voided"]["sft"] == "0"


def test_data_that_is_here_is_planned_first_if_asked_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert is_here(load("toy"))
    assert not is_here(load("base"))
    asked: list[list[str]] = []

    class Failed:
        returncode = 2

    monkeypatch.setattr(subprocess, "run", lambda words, **_: asked.append(words) or Failed())
    assert cli.main(["check", "toy", "--set", "sft.lr=1e-4", "--workspace", str(tmp_path)]) == 0
    assert (asked, list(tmp_path.iterdir())) == ([], [])  # an empty folder stays empty
    assert cli.main(["check", "base", "--plan", "--workspace", str(tmp_path)]) == 2
    assert asked == []
    assert cli.main(["check", "toy", "--plan", "--set", "sft.lr=1e-4", "--workspace", str(tmp_path)]) == 2
    expected = ["-m", "flows", "toy", "--set", "sft.lr=1e-4", "--workspace", str(tmp_path), "--until-plan"]
    assert asked == [[sys.executable, *expected]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["toy", "--gpu", "H10"], "unknown GPU 'H10'; nearest: 'H100'"),
        (["toy", "--utilisation", "40"], "--utilisation 40.0: expected a part of the peak"),
        (["toy", "--price", "1", "2"], "name a prompt file with one of those"),
        (["base", "--set", "sft.pack_length=64"], "pack_length 64 is less than max_length"),
        (["base", "--set", "sft.vision.trainable_from_layer=26"], "the last block that can be trained is 25"),
    ],
)
def test_wrong_input_gets_one_line(capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    assert cli.main(["check", *words]) == 2
    assert message in capsys.readouterr().err


def test_it_starts_without_what_it_does_not_need(tmp_path: Path) -> None:
    script = f"""
import sys
from tinyllava_core import cli
assert cli.main(["check", "base", "--workspace", {str(tmp_path)!r}]) == 0
heavy = {{"torch", "transformers", "prefect", "duckdb", "pandas"}} & sys.modules.keys()
sys.exit(f"imported: {{heavy}}" if heavy else 0)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
