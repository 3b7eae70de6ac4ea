"""The table in docs/reliability.md of what was found once: each test that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_fault_that_was_found_has_the_tests_that_the_page_names() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"## What was found once.*?\n\n(\|.*?)\n\n", page, re.DOTALL)
    rows = [row.strip("| ").split(" | ") for row in table.splitlines()[2:]]
    assert len(rows) > 35
    for what, tests in rows:
        file = ""
        named = re.findall(r"`(\S*)::(\w+)`", tests)
        assert named, what
        for place, test in named:
            file = place or file
            assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), f"{what}: {file}::{test}"
