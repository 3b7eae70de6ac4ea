"""docs/scoring-rules.md names the test of each rule: that they are there, and that no variant is without one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tinyllava_core.evaluate.score.benchmarks import BENCHMARKS

ROOT = Path(__file__).parents[3]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs" / "scoring-rules.md").read_text(encoding="utf-8").splitlines()
    if "test_" in line and line.startswith("|")
]
BY_BENCHMARK = [row for row in ROWS if len(row) == 5]


@pytest.fixture(scope="module")
def tests() -> set[str]:
    """List every test under tests/evaluate as `file::function`."""
    found = set()
    for file in (ROOT / "tests" / "evaluate").rglob("test_*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef):
                found.add(f"{file.name}::{node.name}")
    return found


def test_every_row_names_tests_that_are_there(tests: set[str]) -> None:
    for row in ROWS:
        named = [name.strip() for name in row[-1].split(",")]
        assert named
        assert not set(named) - tests, row


def test_every_variant_of_every_benchmark_has_a_row() -> None:
    told = {(_word(row[0]), variant) for row in BY_BENCHMARK for variant in re.findall(r"`([^`]+)`", row[1])}
    assert told == {(name, variant) for name, row in BENCHMARKS.items() for variant in row.variants}


def _word(cell: str) -> str:
    return cell.strip("`")
