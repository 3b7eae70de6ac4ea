"""The script that compares the toy world's runs, on a made-up workspace of two runs."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import small_workspace
from small_workspace import BLIND, SEEN, jsonl, leave_artifact, leave_run, leave_score, named

from tinyllava_core.lineage.store import publish

OTHER = "e5" + "0" * 14
SCRIPT = Path(__file__).parents[1] / "benchmarks" / "toy_compare.py"


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("toy_compare", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pictures_matter_and_another_seed_does_not(script: ModuleType, tmp_path: Path) -> None:
    """Of 40 questions about 40 pictures, 36 are right seen, 20 blind; the other seed has 36 right too, two of them others."""
    small_workspace.make(tmp_path)
    right = {SEEN: range(36), BLIND: range(20), OTHER: [*range(34), 38, 39]}
    for fingerprint, rights in right.items():
        columns = "question_id image answer parsed score cluster facets counts unparsed"
        rows = [(n, f"{n}.png", "Yes", "yes", float(n in rights), f"{n}.png", [], [], False) for n in range(40)]
        jsonl(tmp_path, "evaluate", fingerprint, "items", named(columns, *rows))
    leave_artifact(tmp_path, OTHER, "evaluate", {})
    leave_score(tmp_path, OTHER, blind=False, score=90.0)
    leave_run(tmp_path, "run-2", "2026-01-02T10:00:00+00:00", seed=43, scores=[OTHER, BLIND])
    publish(tmp_path)
    head, _, *lines = script.table(tmp_path, ["run-1", "run-2"])
    assert head.startswith("| compared | benchmark | first | second |")
    assert [line.split(" | ")[:5] for line in lines] == [
        ["| run-1: blind", "pope", "90.0", "50.0", "-40.0"],
        ["| run-2: blind", "pope", "90.0", "50.0", "-40.0"],
        ["| run-1, run-2", "pope", "90.0", "90.0", "+0.0"],
    ]
    assert [line.split(" | ")[-1] for line in lines] == ["first is better |", "first is better |", "within noise |"]
