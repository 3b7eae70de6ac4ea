"""The loss of every answer at its own step: once each, adding up to the step's loss, whatever was killed or halved meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from train.conftest import run_until_killed

from tinyllava_core.data.tensors.example import Places
from tinyllava_core.job import TrainJob
from tinyllava_core.tokenizer import IGNORE
from tinyllava_core.train.__main__ import run
from tinyllava_core.train.kept.losses import _answers
from tinyllava_core.train.ledger import read_rows

MakeJob = Callable[..., TrainJob]


def rows_of(job: TrainJob) -> list[dict]:
    return pq.read_table(job.out / "record_losses.parquet").to_pylist()


def test_an_answer_is_a_run_of_supervised_tokens_of_one_record() -> None:
    no = IGNORE
    #          record 0: two answers        record 1: one answer that begins where record 0 ended
    labels_T = torch.tensor([no, 5, 6, no, no, 7, no, 8, 8, 8])
    record_T = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1, 1])
    places = Places.of(labels_T, labels_T, record_T, image_id=99)
    assert places.answer_S.tolist() == [0, 0, 1, 2, 2, 2]
    assert _answers(places.answer_S.numpy(), places.record_S.numpy()).tolist() == [[0, 0, 2], [0, 1, 1], [1, 0, 3]]
    # without a gap in the labels, another record is another answer all the same
    places = Places.of(*(torch.tensor([no, 5, 5]),) * 2, torch.tensor([0, 0, 1]), image_id=99)
    assert places.answer_S.tolist() == [0, 1]


def test_every_answer_of_every_record_is_there_once_and_they_add_up_to_the_steps_loss(make_job: MakeJob) -> None:
    job = make_job("plain", save_every=4)
    run(job, [False])
    rows = rows_of(job)
    planned = pq.read_table(job.plan / "plan.parquet").to_pylist()
    told = {(row["step"], row["pack"], row["slot"]): row for row in planned}
    assert len(told) == 22
    for row in rows:
        assert row["record_id"] == told[row["step"], row["pack"], row["slot"]]["record_id"]
    two = {f"tiny-{number:08d}" for number in range(0, 22, 3)}  # every third record has two answers
    assert sorted((row["record_id"], row["turn"]) for row in rows) == sorted(
        (record, turn) for record in {row["record_id"] for row in planned} for turn in range(2 if record in two else 1)
    )
    for step in read_rows(job.out / "steps.jsonl"):
        mine = [row for row in rows if row["step"] == step["step"]]
        assert sum(row["num_supervised"] for row in mine) == step["num_supervised"]
        assert sum(row["loss_sum"] for row in mine) / step["num_supervised"] == pytest.approx(step["loss"], rel=1e-5)
    assert not (job.out / "record_losses").exists()


@pytest.mark.parametrize("dies_after", [1, 3, 5])
def test_a_killed_run_has_the_same_rows(make_job: MakeJob, dies_after: int) -> None:
    whole, killed = make_job("whole"), make_job("killed")
    run(whole, [False])
    run_until_killed(killed, dies_after)
    run(killed, [False])
    assert rows_of(killed) == rows_of(whole)


def test_halved_packs_give_the_same_losses(make_job: MakeJob) -> None:
    whole, halved = make_job("whole"), make_job("halved")
    (halved.out / "halved_packs").touch()
    for job in (whole, halved):
        run(job, [False])
    key = ("step", "pack", "slot", "turn", "record_id", "num_supervised")
    assert [[row[k] for k in key] for row in rows_of(halved)] == [[row[k] for k in key] for row in rows_of(whole)]
    first = [[row["loss_sum"] for row in rows_of(job) if row["step"] == 0] for job in (whole, halved)]
    np.testing.assert_allclose(*first, rtol=1e-4)
