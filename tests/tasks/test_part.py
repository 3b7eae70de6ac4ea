"""A part of a training, measured where it pauses; and on what two losses may be compared."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from train.conftest import new_job

from tasks.of_study import part
from tasks.of_study.part import loss_after, same_tokens, train_part, trained_before
from tasks.run import Run
from tasks.train import train
from tinyllava_core.artifact import Artifact, make_once
from tinyllava_core.data.plan.plan import plan, plan_spec
from tinyllava_core.job import TrainJob
from tinyllava_core.results import MixResult, ShardResult, TrainResult
from tinyllava_core.train.__main__ import run as train_now
from tinyllava_core.train.loop import Paused

MIXED = MixResult(
    num_sources=1, num_records=22, num_distinct_records=22, num_images=22, num_text_only=0, num_left_out=0,
    num_duplicates=0, num_contaminated=0, seed=42,
)  # fmt: skip


def laid_out(run: Run, tiny_shards: Path, mix: str = "one") -> tuple[Artifact, Artifact]:
    """The shards of 22 records as those of a mix, and their plan."""

    def copied(folder: Path) -> ShardResult:
        for file in tiny_shards.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        return ShardResult(num_shards=1, num_records=22, size_bytes=1, sha256="0")

    mixed = make_once(run.workspace, "mix", 1, {"which": mix}, {}, lambda folder: MIXED)
    shards = make_once(run.workspace, "shard", 1, {}, {"mix": mixed}, copied)
    spec = plan_spec(run.recipe, "sft")
    return shards, make_once(run.workspace, "plan", 1, spec, {"shard": shards}, lambda folder: plan(shards.folder, spec, folder))  # fmt: skip


@pytest.fixture
def run(tiny_parts: Path, tiny_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run that trains in this process, 17 records in 5 steps, 5 records held out."""

    def here(job: TrainJob, how: object, name: str) -> None:
        jobs.append(job)
        with contextlib.suppress(Paused):
            train_now(job, [False])

    jobs: list[TrainJob] = []
    monkeypatch.setattr("tasks.train.launch", here)
    monkeypatch.setattr(part, "jobs", jobs, raising=False)
    recipe = new_job(tiny_shards, tmp_path / "aside", "plain", held_out=5, held_out_every=99).recipe
    return Run(run_id="test", workspace=tmp_path / "workspace", recipe=recipe.model_copy(update={"pretrain": None}))


def test_a_part_is_trained_once_and_the_whole_training_goes_on_from_it(run: Run, tiny_shards: Path) -> None:
    shards, planned = laid_out(run, tiny_shards)
    took = train_part(run, "sft", shards, planned, None, None, 0.5, ())
    assert (took.step, took.num_steps, took.why_alone) == (3, 5, "")  # half of five steps, rounded up
    assert took.loss is not None
    assert train_part(run, "sft", shards, planned, None, None, 0.5, ()) == took
    assert [job.until for job in part.jobs] == [3], "the second time nothing is trained"
    trained = train(run, "sft", shards, planned, start=None)
    assert [job.until for job in part.jobs] == [3, None]
    assert trained.result(TrainResult).num_lives == 2
    assert loss_after(trained.folder, 3) == took.loss
    assert train_part(run, "sft", shards, planned, None, None, 0.5, ()) == took, "a whole training tells it too"
    unseen = train_part(run, "sft", shards, planned, None, None, 0.2, ())
    assert (unseen.loss, unseen.why_alone) == (None, "it was trained to its end before, without a look at this step")


def test_losses_compare_only_on_the_same_tokens_after_the_same_data(run: Run, tiny_shards: Path) -> None:
    shards, planned = laid_out(run, tiny_shards)
    same = same_tokens(shards, planned)
    longest = max(pq.read_table(planned.folder / "held_out" / "plan.parquet")["num_tokens"].to_pylist())
    other_rate = run.recipe.model_copy(update={"sft": run.recipe.sft.model_copy(update={"lr": 0.5, "order": 1})})
    shorter = run.recipe.model_copy(update={"sft": run.recipe.sft.model_copy(update={"max_length": longest - 1})})
    assert same_tokens(*laid_out(Run(run_id="a", workspace=run.workspace, recipe=other_rate), tiny_shards)) == same
    assert same_tokens(*laid_out(run, tiny_shards, mix="another")) != same
    assert same_tokens(*laid_out(Run(run_id="b", workspace=run.workspace, recipe=shorter), tiny_shards)) != same


def test_held_out_records_that_an_earlier_stage_trains_on_are_counted(run: Run, tiny_shards: Path) -> None:
    _, planned = laid_out(run, tiny_shards)
    held_out = pq.read_table(planned.folder / "held_out" / "plan.parquet")["record_id"].to_pylist()

    def mixed(*names: str) -> Artifact:
        def make(folder: Path) -> MixResult:
            pq.write_table(pa.table({"record_id": names}), folder / "mix.parquet")
            return MIXED

        return make_once(run.workspace, "mix", 1, {"names": names}, {}, make)

    assert trained_before(planned, [mixed("cats-1", "cats-2")]) == ""
    twice = [mixed("cats-1", held_out[0], held_out[0]), mixed(held_out[1])]
    assert trained_before(planned, twice) == "an earlier stage trains on 2 of the held-out records"
