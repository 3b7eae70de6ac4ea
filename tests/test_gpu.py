"""`make gpu`, as a dry run: with the toy's parts, on a CPU, on a machine that has no more than a bare one and what is carried there."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).parents[1] / "benchmarks" / "gpu.py"
# Loaded by every Python of the dry run: what pip may not have put onto a rented card is not to be found.
BARE = """
import importlib.machinery, sys
MISSING = {"prefect", "datasets", "webdataset", "img2dataset", "duckdb", "deepspeed", "orjson", "msgspec", "fastapi", "starlette", "rich"}
class Bare(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in MISSING else super().find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = Bare
"""
RUN = {  # and whether it holds; None: a speed row, or nothing that a CPU can show
    "machine": True,
    "dtypes": True,
    "kernel varlen": None,
    "packed is unpacked, bf16": True,
    "waits": None,
    "recompiles": True,
    "kernel flex": True,
    "kernel loop": True,
    "phi-2 sft packed": None,
    "phi-2 sft padded, as LLaVA": None,
    "tinyllama sft packed, fsdp reshard": None,
    "tinyllama sft packed, deepspeed zero-2": None,
    "profile of tinyllama sft": None,
}


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_benchmark", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_dry_run_on_a_bare_machine_gives_every_row_and_says_what_fails(tmp_path: Path, gpu: ModuleType) -> None:
    (tmp_path / "sitecustomize.py").write_text(BARE)
    assert set(RUN) <= set(gpu.ROWS)
    others = [name for name in gpu.ROWS if name not in RUN and name.startswith(tuple(RUN))]
    told = tmp_path / "told.json"
    alone = os.environ | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(FILE), "--tiny", "--out", str(told), "--only", *RUN]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=3000, env=alone, check=False)
    rows = json.loads(told.read_text())["rows"]
    assert set(rows) == {*RUN, *others}
    failed = {name for name, row in rows.items() if "fault" in row}
    assert failed == {"tinyllama sft packed, deepspeed zero-2"}, told.with_suffix(".log").read_text()[-3000:]
    assert "No module named 'deepspeed'" in rows["tinyllama sft packed, deepspeed zero-2"]["fault"]
    assert ran.returncode == 1  # a row failed
    assert {name: rows[name].get("ok") for name in RUN} == RUN
    packed, padded = rows["phi-2 sft packed"], rows["phi-2 sft padded, as LLaVA"]
    assert packed["last loss"] == pytest.approx(padded["last loss"], rel=2e-2)  # the same records, in bf16
    assert len(rows["profile of tinyllama sft"]["lines"]) == 10
    assert [line.split("  ")[0] for line in ran.stdout.splitlines()].count("phi-2 sft packed") == 1


def test_a_row_that_takes_the_process_along_or_hangs_takes_no_other_along(
    tmp_path: Path, gpu: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    child = tmp_path / "child.py"
    child.write_text(
        "import json, os, sys, time\n"
        "for name in sys.argv[sys.argv.index('--only') + 1:]:\n"
        "    if name == 'crash': os.abort()\n"
        "    if name == 'hang': time.sleep(60)\n"
        f"    print({gpu.MARK!r} + json.dumps({{'name': name}}), flush=True)\n"
    )
    monkeypatch.setattr(gpu, "__file__", str(child))
    monkeypatch.setattr(gpu, "ROW_SECONDS", 2)
    asked = ["first", "crash", "second", "hang", "third"]
    found = list(gpu.rows(asked, False, time.monotonic() + 60, tmp_path / "log"))
    assert [row["name"] for row in found] == asked
    assert {row["name"]: row["fault"] for row in found if "fault" in row} == {
        "crash": "its process ended with exit code -6",
        "hang": "its process ended with exit code -9",
    }
    late = list(gpu.rows(["first"], False, time.monotonic() - 1, tmp_path / "log"))
    assert late == [{"name": "first", "fault": "no time was left"}]
