"""The loss on held-out records: what it is measured on, that training never sees it, and what it keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from tinyllava_core.data.tensors.stream import PlannedPacks
from tinyllava_core.job import TrainJob, read_result
from tinyllava_core.model import checkpoint
from tinyllava_core.results import TrainResult
from tinyllava_core.train import loop
from tinyllava_core.train.__main__ import reading, run
from tinyllava_core.train.ledger import read_rows
from tinyllava_core.train.measure import HeldOut

MakeJob = Callable[..., TrainJob]


@torch.no_grad()
def loss_one_by_one(job: TrainJob, folder: Path) -> float:
    """Measure the plain way: a checkpoint read back, each held-out pack alone, a sum over tokens divided once."""
    model, packs = checkpoint.load(folder).model, PlannedPacks(job.shards, job.plan / "held_out", reading(job))
    losses = []
    for step, count in enumerate(packs.num_packs):
        for number in range(count):
            pack = packs[step, number]
            pixels = pack.pixels_N3HW.float() / 127.5 - 1
            losses.append(
                model.supervised_losses(pack.ids_T, pack.position_T, pack.record_T, pixels, pack.labels_T).double()
            )
    return float(torch.cat(losses).mean())


def test_the_loss_is_measured_on_records_that_training_never_sees(make_job: MakeJob) -> None:
    job = make_job("measured", held_out=5, held_out_every=2)
    run(job, [False])
    planned, out = (
        pq.read_table(job.plan / f"{place}plan.parquet")["record_id"].to_pylist() for place in ("", "held_out/")
    )
    assert len(out) == 5
    assert len(planned) == 17
    assert not set(planned) & set(out)
    rows = read_rows(job.out / "held_out.jsonl")
    assert [row["step"] for row in rows] == [1, 3, 4]  # 17 records are 5 steps: after every second, and the last
    assert rows[-1]["loss"] == pytest.approx(loss_one_by_one(job, job.out / "checkpoint"), rel=1e-5)
    assert rows[-1]["loss_by_source"] == {"tiny": pytest.approx(rows[-1]["loss"])}
    best = min(rows, key=lambda row: row["loss"])
    assert best["loss"] == pytest.approx(loss_one_by_one(job, job.out / "best"), rel=1e-5)
    result = read_result(job.out, "train", TrainResult)
    assert (result.held_out_loss, result.best_step) == (rows[-1]["loss"], best["step"])


def test_measuring_changes_nothing_and_a_killed_run_measures_the_same(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    often, once, killed = (
        make_job(name, held_out=5, held_out_every=every) for name, every in (("a", 1), ("b", 99), ("c", 1))
    )
    run(often, [False])
    run(once, [False])
    true_measure, calls = HeldOut.measure, [0]

    def dies(*args: object) -> float:
        calls[0] += 1
        if calls[0] == 4:
            raise KeyboardInterrupt
        return true_measure(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(HeldOut, "measure", dies)
    with pytest.raises(KeyboardInterrupt):
        run(killed, [False])
    run(killed, [False])
    first, *others = (load_file(job.out / "checkpoint" / "model.safetensors") for job in (often, once, killed))
    assert all(torch.equal(first[name], other[name]) for other in others for name in first)
    assert read_rows(killed.out / "held_out.jsonl") == read_rows(often.out / "held_out.jsonl")


def test_a_training_that_pauses_after_some_steps_is_measured_there_and_goes_on_to_the_same_weights(
    make_job: MakeJob,
) -> None:
    whole, part = (make_job(name, held_out=5, held_out_every=99, save_every=99) for name in ("whole", "part"))
    run(whole, [False])
    with pytest.raises(loop.Paused, match="3 of 5 steps are taken and saved"):
        run(part.model_copy(update={"until": 3}), [False])
    assert [row["step"] for row in read_rows(part.out / "held_out.jsonl")] == [2]
    assert not (part.out / "train.json").exists(), "it has no result"
    run(part, [False])
    assert [row["step"] for row in read_rows(part.out / "held_out.jsonl")] == [2, 4]
    first, other = (load_file(job.out / "checkpoint" / "model.safetensors") for job in (whole, part))
    assert all(torch.equal(first[name], other[name]) for name in first)
    told = [read_result(job.out, "train", TrainResult) for job in (whole, part)]
    assert (told[0].held_out_loss, told[0].num_steps) == (told[1].held_out_loss, told[1].num_steps)
    assert [row["from_step"] for row in read_rows(part.out / "lives.jsonl")] == [0, 3]


def test_without_held_out_records_nothing_is_measured(make_job: MakeJob) -> None:
    job = make_job("none")
    run(job, [False])
    assert not (job.out / "held_out.jsonl").exists()
    assert not (job.out / "best").exists()
    assert read_result(job.out, "train", TrainResult).best_step is None
    assert loop.HeldOut.of(job, torch.nn.Module(), reading(job), lambda: None) is None
