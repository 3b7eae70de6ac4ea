"""A run in an empty workspace, with a recipe small enough to read; and one in which 22 records are trained on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from train.conftest import new_job, tiny_shards

from tasks.run import Run
from tinyllava_core.artifact import Artifact, make_once
from tinyllava_core.data.plan.plan import plan, plan_spec
from tinyllava_core.job import TrainJob, read_result
from tinyllava_core.recipe import load
from tinyllava_core.results import MixResult, ShardResult, TrainResult
from tinyllava_core.train.__main__ import run as train_now

__all__ = ["tiny_shards"]  # a fixture


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """The toy recipe in an empty workspace."""
    return Run(run_id="toy-1", workspace=tmp_path / "workspace", recipe=load("toy"))


@pytest.fixture
def trained(tiny_parts: Path, tiny_shards: Path, tmp_path: Path) -> tuple[Run, Artifact]:
    """A workspace with a mix, its shards, a plan and a training of them."""
    job = new_job(tiny_shards, tmp_path / "aside", "plain")
    workspace, recipe = tmp_path / "workspace", job.recipe.model_copy(update={"pretrain": None})

    def mix(folder: Path) -> MixResult:
        ids = [f"tiny-{number:08d}" for number in range(22)]
        parts = ["even" if number % 2 == 0 else "odd" for number in range(22)]
        pq.write_table(
            pa.table({"record_id": ids, "source": ["tiny"] * 22, "component": parts}), folder / "mix.parquet"
        )
        counts = dict.fromkeys((field.name for field in dataclasses.fields(MixResult)), 0)
        return MixResult(**{**counts, "num_records": 22})

    mixed = make_once(workspace, "mix", 1, {}, {}, mix)

    def copied(folder: Path) -> ShardResult:
        for file in tiny_shards.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        return ShardResult(num_shards=1, num_records=22, size_bytes=1, sha256="0")

    shards = make_once(workspace, "shard", 1, {}, {"mix": mixed}, copied)
    spec = plan_spec(recipe, "sft")
    planned = make_once(workspace, "plan", 1, spec, {"shard": shards}, lambda folder: plan(shards.folder, spec, folder))

    def made(folder: Path) -> TrainResult:
        told = TrainJob(stage="sft", recipe=recipe, shards=shards.folder, plan=planned.folder, start=None, out=folder)
        train_now(told, [False])
        return read_result(folder, "train", TrainResult)

    training = make_once(workspace, "sft", 1, {}, {"shard": shards, "plan": planned}, made)
    return Run(run_id="test", workspace=workspace, recipe=recipe), training
