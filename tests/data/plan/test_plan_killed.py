"""Tokens are counted tar by tar, by several processes, any of which may be killed at any time: the plan stays the same bytes."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tinyllava_core.data.plan.part import PlanSpec
from tinyllava_core.data.plan.plan import plan
from tinyllava_core.data.shard.shard import shard
from tinyllava_core.settings.shard import Shard

SPEC = PlanSpec(
    stage="sft",
    tokenizer="toy-llama",
    tokenizer_sha256="",
    tokens_per_image=36,
    prompt="short",
    max_length=128,
    pack_length=128,
    global_batch=4,
    epochs=2,
    group_by="modality",
    seed=0,
)
SLOW = """
import sys, time
from pathlib import Path
from tinyllava_core.data.plan import plan as core
from tinyllava_core.data.plan import part as plan_part

true = plan_part.lengths
def slowly(reader, rows, *more):
    print(rows.start, flush=True)
    time.sleep(0.3)
    return true(reader, rows, *more)
plan_part.lengths = slowly

spec = plan_part.PlanSpec.model_validate_json(sys.argv[1])
core.plan(Path(sys.argv[2]), spec, Path(sys.argv[3]), processes=1)
"""


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def shards(tmp_path, world) -> Path:
    """Fourteen records in five tars of three."""
    shard(*world, Shard(records_per_shard=3), tmp_path / "shards", processes=1)
    return tmp_path / "shards"


@pytest.fixture
def undisturbed(tmp_path, shards) -> dict[str, bytes]:
    plan(shards, SPEC, tmp_path / "undisturbed", processes=1)
    return bytes_of(tmp_path / "undisturbed")


def test_any_number_of_processes_makes_the_same_plan(tmp_path, shards, undisturbed):
    result = plan(shards, SPEC, tmp_path / "out", processes=3)
    assert bytes_of(tmp_path / "out") == undisturbed
    assert set(undisturbed) == {"plan.parquet", "steps.parquet", "voided.parquet"}
    assert result.num_records == 28


@pytest.mark.parametrize(("at_row", "processes"), [(0, 1), (6, 2), (12, 1)])
def test_killed_anywhere_it_goes_on_to_the_same_plan(tmp_path, shards, undisturbed, at_row, processes):
    command = [sys.executable, "-c", SLOW, SPEC.model_dump_json(), str(shards), str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if int(line) == at_row)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    counted = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "parts").glob("lengths-*.parquet")}
    assert len(counted) == at_row // 3
    asked: list[int] = []
    plan(shards, SPEC, tmp_path / "out", processes=processes, on_progress=lambda told: asked.append(told.done))
    assert bytes_of(tmp_path / "out") == undisturbed
    assert asked[-1] == 14


def test_the_tars_may_be_cut_otherwise_and_the_plan_says_the_same_but_for_the_tars(tmp_path, world, shards):
    import pyarrow.parquet as pq

    shard(*world, Shard(), tmp_path / "one", processes=1)
    plans = []
    for folder in (shards, tmp_path / "one"):
        plan(folder, SPEC, tmp_path / f"plan-{folder.name}", processes=1)
        plans.append(pq.read_table(tmp_path / f"plan-{folder.name}" / "plan.parquet").drop_columns(["shard", "place"]))
    assert plans[0].equals(plans[1])
