"""`make interop`: how it counts, and that a tool which cannot be had here says so. The tools themselves are not run here."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from benchmarks.interop import rows
from benchmarks.interop.__main__ import line, look
from benchmarks.interop.environments import Environment, NotInstalled, install
from benchmarks.interop.rows import ROWS, Asked, Failed, Row, compare

NOTHING = Environment(name="nothing", packages=())
TOOL = """import json, sys
given = json.load(open(sys.argv[1]))
json.dump({"version": "1.2", "said": given["says"]}, open(sys.argv[2], "w"))
"""


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(rows, "THEIRS", tmp_path)
    (tmp_path / "tool.py").write_text(TOOL)
    return tmp_path


def row(said: list[str], expected: list[str], why: str = "", script: str = "tool.py") -> Row:
    asked = Asked(given={"says": said}, expected=expected)
    return Row(name="a tool", environment=NOTHING, script=script, ask=lambda toy: asked, why=why)


@pytest.mark.parametrize(
    ("said", "why", "told"),
    [
        (["red", "two", "no"], "", (0, "")),
        (["red", "2", "no"], "", (1, "the first: '2' against our 'two'")),
        (["red", "2", "yes"], "it rounds", (2, "it rounds")),
        (["red", "two"], "", (1, "2 items, expected 3")),
    ],
)
def test_items_are_compared_one_by_one(theirs: Path, said: list[str], why: str, told: tuple[int, str]) -> None:
    found = compare(row(said, ["red", "two", "no"], why), Path(sys.executable), None)  # type: ignore[arg-type]
    assert (found.version, found.items) == ("1.2", 3)
    assert (found.differences, found.reason) == told


def test_a_tool_that_ends_badly_gives_its_last_line(theirs: Path) -> None:
    (theirs / "broken.py").write_text("print('so far so good'); raise RuntimeError('no such kernel')")
    with pytest.raises(Failed, match="RuntimeError: no such kernel"):
        compare(row([], [], script="broken.py"), Path(sys.executable), None)  # type: ignore[arg-type]


def test_a_tool_that_no_registry_has_is_a_row_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    wanted = Environment(name="absent", packages=("a-tool-of-nobody==9.9",), beside=False)
    with pytest.raises(NotInstalled, match=r"No matching distribution found for a-tool-of-nobody==9\.9"):
        install(wanted, tmp_path)
    absent = Row(name="absent", environment=wanted, script="tool.py", ask=lambda toy: Asked(given={}, expected=[]))
    found = look(absent, tmp_path, None)  # type: ignore[arg-type]
    assert found.differences is None
    assert "cannot be installed here: No matching distribution" in line(found)


def test_what_runs_elsewhere_is_there_and_imports_nothing_of_this_package() -> None:
    for one in ROWS:
        tree = ast.parse((rows.THEIRS / one.script).read_text())
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not [name for name in names if name.startswith(("tinyllava_core", "flows", "tasks", "benchmarks"))]


def test_the_page_has_a_line_for_each_tool() -> None:
    page = (Path(__file__).parents[1] / "docs" / "other-harnesses.md").read_text()
    assert [one.name for one in ROWS if f"| {one.name} |" not in page] == []
