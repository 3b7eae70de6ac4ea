"""Every engine on one, two and three ranks: equal losses, norms and weights; one state goes on in any other of them."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from train.conftest import new_job
from train.ranks import run_on_ranks

from tinyllava_core.job import TrainJob, read_result
from tinyllava_core.model import lora
from tinyllava_core.recipe import load
from tinyllava_core.results import TrainResult
from tinyllava_core.train.__main__ import run
from tinyllava_core.train.engines.zero import deepspeed_config
from tinyllava_core.train.ledger import read_rows
from tinyllava_core.why.scores import block_of

TORCH: dict[str, Any] = {"launcher": "torchrun", "processes": 2}
ENGINES: dict[str, dict[str, Any]] = {
    "torch": TORCH,
    "keep": TORCH | {"fsdp": "keep"},
    "reshard": TORCH | {"fsdp": "reshard"},
    "away": TORCH | {"fsdp": "reshard", "offload": "all"},
    "zero1": TORCH | {"zero_stage": 1},
    "zero2": TORCH | {"zero_stage": 2},
    "zero3": TORCH | {"zero_stage": 3},
    "zero3-away": TORCH | {"zero_stage": 3, "offload": "all"},
}
PIECES = [400 * 3, 400 * 11]  # on one rank three supervised tokens at once, on the other eleven
HALF = {"precision": "bf16", "max_length": 48}
SENT = ("torch", "keep", "zero2", "zero3")  # engines whose gradients travel in bf16 once
MEAN = {"count": 2, "every": 3}
DROPPING = {"trainable_from_layer": 0, "lora": {"rank": 2, "alpha": 4, "dropout": 0.4}}
# Killed at each step, and gone on by another engine on another number of ranks.
HOPS_ON_TWO = ["torch", "keep", "zero2"]
HOPS_ON_THREE = ["reshard", "zero3"]


@dataclass(frozen=True)
class World:
    """All jobs of this file, done: one start of processes for everything."""

    one: TrainJob  # alone, in long packs
    short: TrainJob  # alone, in short packs
    dropping: TrainJob  # alone, with dropout
    mean: TrainJob  # alone, ending with the mean of its last weights
    jobs: dict[str, TrainJob]
    killed: TrainJob
    text_only: TrainJob
    extensions: Path  # where torch would compile


@pytest.fixture(scope="module")
def world(tiny_parts: Path, tiny_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    home = tmp_path_factory.mktemp("engines")
    compiled = home / "extensions" / f"py{sys.version_info.major}{sys.version_info.minor}_cpu" / "deepspeed_shm_comm"
    compiled.mkdir(parents=True)
    (compiled / "lock").touch()  # as a compilation leaves it that is killed: who wants to compile waits for ever

    def make(name: str, **fields: Any) -> TrainJob:
        return new_job(tiny_shards, home, name, **{"max_length": 48, "keep_gradients": True} | fields)

    one, short, dropping = make("one", max_length=128), make("short"), make("dropping-alone", language=DROPPING)
    mean = make("mean-alone", average=MEAN)
    jobs = {name: make(name, launch=launch) for name, launch in ENGINES.items()}
    jobs |= {
        f"{name}-bf16": make(f"{name}-bf16", launch=ENGINES[name], **HALF)
        for name in ("torch", "keep", "zero2", "zero3")
    }
    jobs |= {
        f"{name}-sent-bf16": make(f"{name}-sent-bf16", launch=ENGINES[name], gradients_in="bf16", **HALF)
        for name in SENT
    }
    jobs |= {f"{name}-mean": make(f"{name}-mean", launch=ENGINES[name], average=MEAN) for name in ("reshard", "zero3")}
    jobs["dropping"] = make("dropping", launch=ENGINES["keep"], language=DROPPING)
    killed = make("killed", launch=TORCH, save_every=1)
    frozen_in_front = {"launch": ENGINES["zero3"], "connector": {"trainable_from_layer": None}}
    text_only = make("text-only", **frozen_in_front)
    for job in (one, short, dropping, mean):
        run(job, [False])

    def hop(engine: str, die_at: int) -> dict[str, Any]:
        launch = killed.recipe.launch.model_validate(ENGINES[engine])
        told = killed.out / f"job-{engine}.yaml"
        killed.model_copy(update={"recipe": killed.recipe.model_copy(update={"launch": launch})}).write(told)
        return {"job": told, "die_at": die_at}

    asked = [
        {
            "job": job.out / "job.yaml",
            "pieces": PIECES if "reshard" in name or "zero3" in name else None,
            "spy": "bf16" in name,
            "note": name.endswith("bf16"),
            "die_at": 2 if name.endswith("bf16") else None,  # what is asked of these shows in a step or two
        }
        for name, job in jobs.items()
    ]
    asked.append({"job": text_only.out / "job.yaml"})
    asked += [hop(engine, at) for at, engine in enumerate(HOPS_ON_TWO, 1)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_EXTENSIONS_DIR", str(home / "extensions"))
        run_on_ranks(tiny_parts, {2: asked, 3: [hop(engine, at) for at, engine in enumerate(HOPS_ON_THREE, 4)]})
    run(killed, [False])  # the end, alone
    return World(
        one=one,
        short=short,
        dropping=dropping,
        mean=mean,
        jobs=jobs,
        killed=killed,
        text_only=text_only,
        extensions=compiled,
    )


def weights(job: TrainJob) -> dict[str, torch.Tensor]:
    return load_file(job.out / "checkpoint" / "model.safetensors")


def steps(job: TrainJob) -> list[dict[str, Any]]:
    return read_rows(job.out / "steps.jsonl")


def norms(job: TrainJob) -> list[dict[str, float]]:
    return [row["grad_norm_by_part"] for row in read_rows(job.out / "metrics.jsonl")]


def answers(job: TrainJob) -> list[tuple[str, int, int]]:
    """Whose loss was kept: record, which of its answers, tokens."""
    kept = pq.read_table(job.out / "record_losses.parquet", columns=["record_id", "turn", "num_supervised"])
    return sorted(tuple(row.values()) for row in kept.to_pylist())


def assert_same(found: TrainJob, wanted: TrainJob) -> None:
    """The first steps to rounding, the last ones to what rounding grows to through Adam, at a rate of 1e-2."""
    first, theirs = steps(found)[0], steps(wanted)[0]
    assert first["loss"] == pytest.approx(theirs["loss"], rel=1e-6)
    assert first["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-5)
    assert norms(found)[0] == pytest.approx(norms(wanted)[0], rel=1e-5)
    assert answers(found) == answers(wanted)
    for mine, other in zip(steps(found), steps(wanted), strict=True):
        assert mine["loss"] == pytest.approx(other["loss"], rel=1e-3)
        assert (mine["num_tokens"], mine["lr_language"]) == (other["num_tokens"], other["lr_language"])
    for name, value in weights(wanted).items():
        torch.testing.assert_close(weights(found)[name], value, atol=3e-3, rtol=1e-2, msg=name)


def test_packs_do_not_change_losses_or_weights(world: World) -> None:
    packs = [pq.read_table(job.plan / "steps.parquet")["num_packs"].to_pylist() for job in (world.one, world.short)]
    assert packs[0] != packs[1]
    assert_same(world.short, world.one)


@pytest.mark.parametrize("engine", ENGINES)
def test_ranks_and_engines_do_not_change_losses_norms_or_weights(world: World, engine: str) -> None:
    """ZeRO-3 and `reshard` with another number of pieces of the loss on each rank."""
    assert_same(world.jobs[engine], world.one)


def test_a_state_goes_on_in_any_engine_on_any_number_of_ranks(world: World) -> None:
    lives = [(life["from_step"], life["world_size"]) for life in read_rows(world.killed.out / "lives.jsonl")]
    assert lives == [(0, 2), (1, 2), (2, 2), (3, 3), (4, 3), (5, 1)]
    assert [row["life"] for row in steps(world.killed)] == list(range(6))
    assert_same(world.killed, world.one)


@pytest.mark.parametrize("engine", ["torch", "keep", "zero2", "zero3"])
def test_bf16_is_computed_in_bf16_where_cudas_autocast_is_on(world: World, engine: str) -> None:
    """DeepSpeed sees that flag on a GPU, and then turned autocast off."""
    seen = [json.loads((world.jobs[f"{engine}-bf16"].out / f"dtypes-{rank}.json").read_text()) for rank in (0, 1)]
    assert all(set(types) == {"torch.bfloat16"} and types["torch.bfloat16"] > 100 for types in seen)


@pytest.mark.parametrize("engine", ["keep", "zero2", "zero3"])
def test_in_bf16_the_engines_agree_to_its_rounding(world: World, engine: str) -> None:
    for mine, theirs in zip(steps(world.jobs[f"{engine}-bf16"]), steps(world.jobs["torch-bf16"]), strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=2e-2)
    first = [steps(world.jobs[f"{name}-bf16"])[0] for name in (engine, "torch")]
    assert first[0]["loss"] == pytest.approx(first[1]["loss"], rel=1e-3)


def test_dropout_is_the_same_on_two_ranks_as_alone(world: World) -> None:
    found, wanted = ([row["loss"] for row in steps(job)] for job in (world.jobs["dropping"], world.dropping))
    assert found == pytest.approx(wanted, rel=1e-4)
    mine, theirs = (
        load_file(job.out / "checkpoint" / lora.WEIGHTS) for job in (world.jobs["dropping"], world.dropping)
    )
    for name, value in theirs.items():
        torch.testing.assert_close(mine[name], value, atol=3e-3, rtol=1e-2, msg=name)


def test_sharded_frozen_parts_do_not_hang_where_one_rank_has_no_images(world: World) -> None:
    assert [row["step"] for row in steps(world.text_only)] == list(range(6))
    assert read_result(world.text_only.out, "train", TrainResult).num_steps == 6


@pytest.mark.parametrize("engine", ["reshard", "zero3"])
def test_the_mean_of_the_last_weights_is_the_same_where_they_are_shared_out(world: World, engine: str) -> None:
    assert_same(world.jobs[f"{engine}-mean"], world.mean)
    last, mean = weights(world.one), weights(world.mean)
    assert any(not torch.allclose(mean[name], last[name], atol=3e-3, rtol=1e-2) for name in mean)  # the mean is another


@pytest.mark.parametrize("engine", SENT)
def test_gradients_travel_in_half_precision_where_it_is_asked_for(world: World, engine: str) -> None:
    """Those of all matrices; in DeepSpeed not those of embeddings and norms, and ZeRO-2 sends more than gradients."""
    job = world.jobs[f"{engine}-sent-bf16"]
    plain, half = (noted(world.jobs[f"{engine}{how}-bf16"])["sent"] for how in ("", "-sent"))
    assert "torch.bfloat16" not in plain
    assert half["torch.bfloat16"] > (0.3 if engine == "zero2" else 0.6) * plain["torch.float32"]
    assert half["torch.bfloat16"] + half["torch.float32"] == pytest.approx(plain["torch.float32"], rel=0.1)
    for mine, theirs in zip(steps(job), steps(world.jobs[f"{engine}-bf16"]), strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=2e-2)
    assert steps(job)[0]["grad_norm"] == pytest.approx(steps(world.jobs[f"{engine}-bf16"])[0]["grad_norm"], rel=1e-2)


def test_weights_are_read_once_a_machine(world: World) -> None:
    """Encoder and language model by the first rank; the other receives them."""
    job = world.jobs["torch-bf16"]
    assert [noted(job, rank)["reads"] for rank in (0, 1)] == [2, 0]


def noted(job: TrainJob, rank: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((job.out / f"noted-{rank}.json").read_text())
    return found


def test_buckets_are_even_for_a_model_of_an_odd_number_of_parameters() -> None:
    """As DeepSpeed 0.19 asserts for ZeRO-2."""
    launch = load("base").launch
    for count, bucket in ((7, 8), (8, 8), (3_000_000_001, 500_000_000)):
        told = deepspeed_config(load("base").training("sft"), launch, count)["zero_optimization"]
        assert told["allgather_bucket_size"] == told["reduce_bucket_size"] == bucket


def test_deepspeed_compiles_nothing_and_waits_for_no_lock_that_a_killed_compilation_left(world: World) -> None:
    assert [file.name for file in world.extensions.iterdir()] == ["lock"]


@pytest.mark.parametrize("name", [*ENGINES, "killed"])
def test_every_engine_keeps_the_gradients_that_one_process_keeps(world: World, name: str) -> None:
    """Where the weights of the head are in pieces on the ranks, too; of a job killed at each step each row once."""
    job = world.killed if name == "killed" else world.jobs[name]
    mine, theirs = (pq.read_table(one.out / "record_gradients.parquet") for one in (job, world.short))
    assert mine["record_id"].to_pylist() == theirs["record_id"].to_pylist()
    np.testing.assert_allclose(block_of(mine).head_NK, block_of(theirs).head_NK, atol=0.05)
