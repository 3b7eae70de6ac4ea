"""Bad input that can be seen before anything starts: one line, exit code 2, nothing begun."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flows.__main__ import main
from tinyllava_core.errors import BadInput
from tinyllava_core.recipe import read_overrides

CLONE = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["toi"], "unknown recipe 'toi'; nearest: 'toy'"),
        (["toy", "--set", "sft.learning_rate=1"], "override 'sft.learning_rate': the recipe has no such field"),
        (["toy", "--set", "sft.langauge.lr=1"], "nearest: 'sft.language.lr'"),
        (["toy", "--set", "sft.lr=fast"], "sft.lr = 'fast': Input should be a valid number"),
        (["toy", "--set", "sft.lr"], "expected key=value"),
        (
            ["toy", "--set", "evaluate.benchmarks=[toy-poe]"],
            "unknown source, image set or benchmark 'toy-poe'; nearest: 'toy-pope'",
        ),
        (["nowhere.yaml"], "recipe 'nowhere.yaml': no such file"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_bad_input_is_one_line(words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--workspace", str(tmp_path / "workspace")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert not (tmp_path / "workspace").exists()


def test_bad_input_is_told_before_anything_heavy_is_imported() -> None:
    script = "import sys; from flows.__main__ import main; code = main(['toi']); print(code, 'prefect' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=CLONE)
    assert ran.stdout.split() == ["2", "False"]


def test_values_are_yaml() -> None:
    assert read_overrides(["sft.lr=1e-5", "evaluate.blind=false", "evaluate.benchmarks=[a, b]", "sft.prompt="]) == {
        "sft.lr": "1e-5",  # YAML's own view; the recipe reads it as a number
        "evaluate.blind": False,
        "evaluate.benchmarks": ["a", "b"],
        "sft.prompt": None,
    }
    with pytest.raises(BadInput, match="is not YAML"):
        read_overrides(["sft.mix=[{"])
