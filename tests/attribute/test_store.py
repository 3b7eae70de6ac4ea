"""Gradients of single records: as autograd has them, whatever they are packed with, and the same after a kill. Retraining without nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor
from train.conftest import new_job, tiny_shards

from tinyllava_core.artifact import file_sha256
from tinyllava_core.attribute.retrain import retrain
from tinyllava_core.attribute.sketch import Sketches, random_signs
from tinyllava_core.attribute.store import record_parts
from tinyllava_core.data.tensors.stream import PlannedPacks
from tinyllava_core.job import RetrainJob, TrainJob, read_result
from tinyllava_core.model import loss
from tinyllava_core.model.assemble import assemble
from tinyllava_core.model.tinyllava import TinyLlava
from tinyllava_core.results import RetrainResult
from tinyllava_core.train.__main__ import reading, run
from tinyllava_core.train.passes import given
from tinyllava_core.why import scores

__all__ = ["tiny_shards"]  # a fixture
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def job(tiny_parts: Path, tiny_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainJob:
    return new_job(tiny_shards, tmp_path_factory.mktemp("store"), "plain")


@pytest.fixture(scope="module")
def model(job: TrainJob) -> TinyLlava:
    return assemble(job.recipe.model, 3).eval()


@pytest.fixture(scope="module")
def packs(job: TrainJob) -> PlannedPacks:
    return PlannedPacks(job.shards, job.plan, reading(job))


def sketches(model: TinyLlava, layers: bool = True) -> Sketches:
    return Sketches(model, hidden=5, error=7, side=3, layers=layers, seed=11)


def run_pack(of: Sketches, packs: PlannedPacks, step: int, number: int) -> Any:
    pack = packs[step, number].apart()
    assert pack.places is not None
    return of.of(given(pack, packs.reading.vision), pack.record_T, pack.places.record_S, len(pack.places.lengths))


def weight_gradients(model: TinyLlava, packs: PlannedPacks, step: int, number: int, record: int) -> dict[str, Tensor]:
    """Give autograd's gradient of one record's summed loss, for the head and every linear layer."""
    pack = packs[step, number].apart()
    assert pack.places is not None
    names = [f"model.language_model.{name}.weight" for name in sketches(model).linear]
    weights = {name: model.get_parameter(name) for name in [*names, "lm_head.weight"]}
    model.requires_grad_(True)
    losses_S = model.supervised_losses(*given(pack, packs.reading.vision))
    found = torch.autograd.grad(losses_S[pack.places.record_S == record].sum(), list(weights.values()))
    model.requires_grad_(False)
    return dict(zip(weights, found, strict=True))


@pytest.mark.parametrize("piece", [loss.PIECE, 1200])  # all tokens at once; three at a time
def test_a_packed_records_numbers_are_its_own_gradients_between_the_random_matrices(
    model: TinyLlava, packs: PlannedPacks, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr(loss, "PIECE", piece)
    of = sketches(model)
    found = run_pack(of, packs, 0, 0)
    pack = packs[0, 0].apart()
    assert pack.places is not None
    assert len(pack.places.lengths) > 1  # several records share it
    for record in range(len(pack.places.lengths)):
        exact = weight_gradients(model, packs, 0, 0, record)
        head = random_signs(24, 5, 11).T @ exact["lm_head.weight"].T @ random_signs(400, 7, 12)
        torch.testing.assert_close(found.head_RK[record], head.flatten(), rtol=1e-3, atol=1e-4)
        rows = found.layers_RK[record].view(len(of.linear), 9)
        for place, (name, module) in enumerate(of.linear.items()):
            enter = random_signs(module.in_features, 3, 13 + 2 * place)
            leave = random_signs(module.out_features, 3, 14 + 2 * place)
            wanted = enter.T @ exact[f"model.language_model.{name}.weight"].T @ leave
            torch.testing.assert_close(rows[place], wanted.flatten(), rtol=1e-3, atol=1e-4, msg=name)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_forward_pass_alone_gives_the_same_head_gradients_and_losses(model: TinyLlava, packs: PlannedPacks) -> None:
    both, alone = (run_pack(sketches(model, layers), packs, 1, 0) for layers in (True, False))
    assert alone.layers_RK is None
    torch.testing.assert_close(alone.head_RK, both.head_RK)
    losses_S = model.supervised_losses(*given(packs[1, 0], packs.reading.vision)).detach()
    assert float(alone.loss_R.sum()) == pytest.approx(float(losses_S.sum()), rel=1e-5)


@pytest.mark.parametrize("layers", [False, True])
def test_half_precision_gives_the_same_but_for_its_rounding(
    model: TinyLlava, packs: PlannedPacks, job: TrainJob, tmp_path: Path, layers: bool
) -> None:
    """The random matrices multiply in float32, as what they give is added up."""
    for precision in ("fp32", "bf16"):
        list(record_parts(packs, job.plan, sketches(model, layers), precision, CPU, tmp_path / precision))
    whole, half = (
        np.concatenate([block.whole_NK for block in scores.blocks(scores.files(tmp_path / precision))])
        for precision in ("fp32", "bf16")
    )
    length = np.linalg.norm(whole, axis=1) * np.linalg.norm(half, axis=1)
    assert (np.einsum("nk,nk->n", whole, half) / length).min() > 0.99


def test_a_killed_store_goes_on_to_the_same_bytes(
    model: TinyLlava, packs: PlannedPacks, job: TrainJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinyllava_core.attribute.store.RECORDS_A_PART", 8)  # 6 steps of 4: three parts
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert list(record_parts(packs, job.plan, sketches(model), "fp32", CPU, whole)) == [(2, 6), (4, 6), (6, 6)]
    begun = record_parts(packs, job.plan, sketches(model), "fp32", CPU, killed)
    next(begun)
    begun.close()
    (killed / ".records-00000002.parquet.0.partial").write_bytes(b"half")  # what a kill leaves
    first = (killed / "records-00000000.parquet").stat().st_mtime_ns
    list(record_parts(packs, job.plan, sketches(model), "fp32", CPU, killed))
    assert (killed / "records-00000000.parquet").stat().st_mtime_ns == first  # not made again
    names = sorted(path.name for path in whole.iterdir())
    assert [file_sha256(killed / name) for name in names] == [file_sha256(whole / name) for name in names]
    planned = pq.read_table(job.plan / "plan.parquet", columns=["record_id"])["record_id"].to_pylist()
    assert [name for file in names for name in pq.read_table(whole / file)["record_id"].to_pylist()] == planned
    # int8 with one scale a row keeps a gradient to half a step
    table = pq.read_table(whole / names[0])
    (block,) = scores.blocks([whole / names[0]])
    exact = run_pack(sketches(model), packs, 0, 0).head_RK.numpy()
    step = table["head_scale"].to_numpy()[: len(exact), None]
    assert (np.abs(block.head_NK[: len(exact)] - exact) <= step * 0.501).all()


def test_without_nothing_a_retraining_is_the_training_bit_for_bit(job: TrainJob, tmp_path: Path) -> None:
    run(job, [False])
    sha256 = {}
    for name, void in (("none", ()), ("one", ("tiny-00000003",))):
        (out := tmp_path / name).mkdir()
        retrain(RetrainJob(train=job.model_copy(update={"out": out / "training"}), void=void, evaluations=(), out=out))
        result = read_result(out, "retrain", RetrainResult)
        assert (result.num_void, result.num_records, result.num_steps) == (len(void), 22, 6)
        assert not (out / "training").exists()
        sha256[name] = result.checkpoint_sha256
    assert sha256["none"] == file_sha256(job.out / "checkpoint" / "model.safetensors")
    assert sha256["one"] != sha256["none"]
