"""Tab after `tinyllava`: asked as a shell's completion asks, through the environment, answered on file descriptor 8."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def offered(line: str, tmp_path: Path) -> set[str]:
    out = tmp_path / "offered"
    environment = os.environ | {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(out),
        "_ARGCOMPLETE_IFS": "\n",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
    }
    script = "import sys; sys.argv[0] = 'tinyllava'; from tinyllava_core.cli import main; sys.exit(main([]))"
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True)
    return {word.strip() for word in out.read_text().split("\n") if word.strip()}


@pytest.mark.parametrize(
    ("line", "words"),
    [("tinyllava ev", {"evaluate"}), ("tinyllava ru", {"run", "runs"}), ("tinyllava check toy --pl", {"--plan"})],
)
def test_a_shell_is_told_what_may_follow(tmp_path: Path, line: str, words: set[str]) -> None:
    assert offered(line, tmp_path) == words
