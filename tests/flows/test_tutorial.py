"""The tutorial: it was executed, not pasted; and every cell of it runs here, on the run that the tests of flows share."""

from __future__ import annotations

import ast
import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "tutorial.ipynb"


def cells() -> list[dict]:
    return [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]


def execute(source: str, names: dict) -> str:
    """Run a cell as a notebook does -> what it printed, and its last expression as text."""
    body = ast.parse(source).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(ast.Module(body=body, type_ignores=[]), "cell", "exec"), names)
        value = eval(compile(ast.Expression(body=last.value), "cell", "eval"), names) if last else None
        if value is not None:
            print(value)
    return printed.getvalue()


def shown(cell: dict) -> str:
    texts = [output.get("text") or output["data"]["text/plain"] for output in cell["outputs"]]
    return "".join("".join(text) for text in texts)


def test_the_tutorial_runs_cell_by_cell_and_says_things_of_the_kind_that_it_shows(
    first_run: tuple[Any, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, _ = first_run
    monkeypatch.setenv("TINYLLAVA_WORKSPACE", str(desk.workspace))
    monkeypatch.setenv("TUTORIAL_RECIPE", str(desk.recipe))
    names: dict = {}
    told = [execute("".join(cell["source"]), names) for cell in cells()]
    kept = [shown(cell) for cell in cells()]
    assert [cell["execution_count"] for cell in cells()] == list(range(1, len(kept) + 1)), "run in order, from the top"
    assert [bool(one) for one in told] == [bool(one) for one in kept]
    runs, scores, sources, plan, record, hard, hardest, answers, asked, stages = told[1:]
    assert "photographs" in runs
    assert all(word in scores for word in ("my-questions", "seen", "blind"))
    assert all(word in sources for word in ("pretrain", "sft", "my-photographs"))
    assert "num_supervised" in plan
    assert record.startswith("photographs sft: my-photographs-0000000")
    assert "learned" in record
    assert "last_tenth" in hard
    assert "my-photographs-0000000" in hardest
    assert all(name in answers for name in ("chelsea.jpg", "coffee.jpg", "rocket.jpg"))
    assert len(asked.splitlines()) >= 2, "a question and what was said to it"
    assert all(word in stages for word in ("mix", "plan", "sft", "evaluate", "report"))
