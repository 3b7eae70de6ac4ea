"""A small gradient of every record from the pass that trains on it: as a store's own pass has it, once each, and it changes no weight."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from train.conftest import run_until_killed

from tinyllava_core.artifact import Artifact, file_sha256
from tinyllava_core.attribute.sketch import Sketches
from tinyllava_core.attribute.store import record_parts
from tinyllava_core.data.plan.plan import plan, plan_spec
from tinyllava_core.data.plan.void import Void
from tinyllava_core.data.tensors.stream import PlannedPacks
from tinyllava_core.job import HEAD, TrainJob
from tinyllava_core.train.__main__ import load_start, reading, run
from tinyllava_core.why.found import kept_gradients
from tinyllava_core.why.scores import block_of

MakeJob = Callable[..., TrainJob]


def keeping(job: TrainJob, **training: object) -> TrainJob:
    """Let a job keep the gradients."""
    changed = job.recipe.sft.model_copy(update={"keep_gradients": True, **training})
    return job.model_copy(update={"recipe": job.recipe.model_copy(update={"sft": changed})})


def kept(job: TrainJob) -> pa.Table:
    return pq.read_table(job.out / "record_gradients.parquet")


def test_where_weights_hardly_move_they_are_those_of_a_stores_own_pass(make_job: MakeJob, tmp_path: Path) -> None:
    job = keeping(make_job("still"), lr=1e-7, weight_decay=0.0)
    model = load_start(job)
    packs = PlannedPacks(job.shards, job.plan, reading(job))
    small = Sketches(model, hidden=HEAD["hidden"], error=HEAD["error"], side=1, layers=False, seed=HEAD["seed"])
    list(record_parts(packs, job.plan, small, "fp32", torch.device("cpu"), tmp_path / "store"))
    store = pa.concat_tables(map(pq.read_table, sorted((tmp_path / "store").iterdir())))
    run(job, [False])
    found = kept(job)
    assert found.column_names == store.column_names
    for name in ("step", "pack", "slot", "record_id", "source", "num_supervised", "greedy"):
        assert found[name].to_pylist() == store[name].to_pylist()
    for name in ("loss", "head_norm"):
        np.testing.assert_allclose(found[name].to_numpy(), store[name].to_numpy(), rtol=1e-4)
    mine, theirs = block_of(found).head_NK, block_of(store).head_NK
    step = store["head_scale"].to_numpy().max()
    np.testing.assert_allclose(mine, theirs, atol=1.01 * step)  # rounded apart by one at most


def test_they_change_no_weight_and_a_killed_run_has_the_same(make_job: MakeJob) -> None:
    plain, whole, killed = make_job("plain"), keeping(make_job("whole")), keeping(make_job("killed"))
    run(plain, [False])
    run(whole, [False])
    weights = "checkpoint/model.safetensors"
    assert file_sha256(whole.out / weights) == file_sha256(plain.out / weights)
    assert not (plain.out / "record_gradients.parquet").exists()
    run_until_killed(killed, 4)
    run(killed, [False])
    assert kept(killed).equals(kept(whole))
    assert not (killed.out / "record_gradients").exists()
    losses = pq.read_table(whole.out / "record_losses.parquet").group_by("record_id").aggregate([("loss_sum", "sum")])
    told = dict(zip(losses["record_id"].to_pylist(), losses["loss_sum_sum"].to_pylist(), strict=True))
    rows = kept(whole)
    found = dict(zip(rows["record_id"].to_pylist(), rows["loss"].to_pylist(), strict=True))
    assert found == pytest.approx(told, rel=1e-4)


def test_halves_of_packs_give_the_same_and_a_void_record_is_nothing(make_job: MakeJob) -> None:
    whole, halved = keeping(make_job("whole")), keeping(make_job("halved"))
    void = Void(record_ids=frozenset({"tiny-00000003", "tiny-00000009"}), named_in="test")
    for job in (whole, halved):
        plan(job.shards, plan_spec(job.recipe, job.stage, void), job.plan, void=void)
    (halved.out / "halved_packs").touch()
    assert halved.has_halved_packs
    for job in (whole, halved):
        run(job, [False])
    mine, theirs = kept(halved), kept(whole)
    assert mine["record_id"].to_pylist() == theirs["record_id"].to_pylist()
    np.testing.assert_allclose(block_of(mine).head_NK, block_of(theirs).head_NK, atol=0.05)
    long = dict(zip(theirs["record_id"].to_pylist(), theirs["head_norm"].to_pylist(), strict=True))
    assert len(long) == 22
    assert {name for name, norm in long.items() if norm == 0} == void.record_ids


def test_a_store_takes_them_only_where_its_answers_get_the_same_random_matrices(tmp_path: Path) -> None:
    training = Artifact(stage="sft", fingerprint="ab12", folder=tmp_path)
    assert kept_gradients(training) is None
    table, told = pa.table({"head": [b"1"]}), {name: str(value) for name, value in HEAD.items()}
    path = tmp_path / "record_gradients.parquet"
    pq.write_table(table.replace_schema_metadata(told), path)
    assert kept_gradients(training) == path
    pq.write_table(table.replace_schema_metadata({**told, "seed": "1"}), path)
    assert kept_gradients(training) is None
