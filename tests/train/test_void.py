"""Void records keep their places and weigh nothing; another order is the same records at other steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from tinyllava_core.data.plan.plan import PLAN_SCHEMA, plan, plan_spec, write_plan
from tinyllava_core.data.plan.void import NOTHING, Void, of_ids, read_ids
from tinyllava_core.errors import BadInput
from tinyllava_core.job import TrainJob
from tinyllava_core.train.__main__ import run
from tinyllava_core.train.ledger import read_rows
from tinyllava_core.train.moved import check_after
from tinyllava_core.train.planned import PlannedSteps

MakeJob = Callable[..., TrainJob]
FIRST_STEP = {f"tiny-{number:08d}" for number in range(4)}


def planned(job: TrainJob) -> list[dict]:
    return pq.read_table(job.plan / "plan.parquet").to_pylist()


def voiding(job: TrainJob, void: Void) -> TrainJob:
    plan(job.shards, plan_spec(job.recipe, job.stage, void), job.plan, void=void)
    return job


def weights(job: TrainJob) -> dict[str, torch.Tensor]:
    return load_file(job.out / "checkpoint" / "model.safetensors")


def same(ours: TrainJob, theirs: TrainJob) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(ours).values(), weights(theirs).values(), strict=True))


def test_a_void_record_keeps_step_rate_and_neighbours_and_its_share_is_nothing(make_job: MakeJob) -> None:
    """All of the first step is void: it is taken, and moves nothing; the other steps are as they were planned."""
    whole, left = make_job("whole"), make_job("left")
    void = Void(record_ids=frozenset(FIRST_STEP | {"tiny-00000009"}), named_in="test")
    before = planned(left)
    voiding(left, void)
    after = planned(left)
    places = ("step", "pack", "slot", "position", "record_id", "num_tokens")
    assert [[row[k] for k in places] for row in after] == [[row[k] for k in places] for row in before]
    for row, was in zip(after, before, strict=True):
        assert row["void"] == (row["record_id"] in void.record_ids)
        assert row["num_supervised"] == (0 if row["void"] else was["num_supervised"])
    for job in (whole, left):
        run(job, [False])
    mine, theirs = (read_rows(job.out / "steps.jsonl") for job in (left, whole))
    assert [row["lr_language"] for row in mine] == [row["lr_language"] for row in theirs]
    assert (mine[0]["loss"], mine[0]["grad_norm"], mine[0]["num_supervised"]) == (0.0, 0.0, 0)
    assert mine[1]["num_supervised"] == theirs[1]["num_supervised"]
    alone = {row["record_id"] for row in pq.read_table(left.out / "record_losses.parquet").to_pylist()}
    assert alone == {row["record_id"] for row in before} - void.record_ids
    assert not same(whole, left)


def test_to_void_nothing_is_the_run_itself_bit_for_bit(make_job: MakeJob) -> None:
    whole, again = make_job("whole"), voiding(make_job("again"), NOTHING)
    for job in (whole, again):
        run(job, [False])
    assert same(whole, again)
    assert plan_spec(whole.recipe, "sft").model_dump().keys() == plan_spec(again.recipe, "sft").model_dump().keys()
    assert "void_sha256" not in plan_spec(whole.recipe, "sft").model_dump(mode="json")  # old plans keep their names


def test_a_void_record_weighs_what_a_missing_one_does(make_job: MakeJob) -> None:
    """One step's loss with a void record is the mean over the others' tokens, by the whole run's own record losses."""
    whole, left = make_job("whole"), make_job("left")
    voiding(left, Void(record_ids=frozenset({"tiny-00000001"}), named_in="test"))
    for job in (whole, left):
        run(job, [False])
    rows = [row for row in pq.read_table(whole.out / "record_losses.parquet").to_pylist() if row["step"] == 0]
    others = [row for row in rows if row["record_id"] != "tiny-00000001"]
    assert len(others) < len(rows)
    mean = sum(row["loss_sum"] for row in others) / sum(row["num_supervised"] for row in others)
    assert read_rows(left.out / "steps.jsonl")[0]["loss"] == pytest.approx(mean, rel=1e-5)


def test_to_void_a_whole_source_is_its_share_0_at_the_same_steps(make_job: MakeJob) -> None:
    """The other source alone, planned at the same steps without the void places, gives the same weights but for rounding."""
    void, alone = make_job("void"), make_job("alone")
    rows = planned(void)
    kept = {row["record_id"] for place, row in enumerate(rows) if place % 2}  # of every step some
    source = frozenset(row["record_id"] for row in rows) - kept
    voiding(void, Void(record_ids=source, named_in="test"))
    table = pq.read_table(alone.plan / "plan.parquet").to_pylist()
    places: dict[tuple[int, int], list[dict]] = {}
    for row in table:
        if row["record_id"] in kept:
            places.setdefault((row["step"], row["pack"]), []).append(row)
    left = [
        {**row, "pack": sum(step == other[0] and pack > other[1] for other in places), "slot": slot}
        for (step, pack), members in places.items()
        for slot, row in enumerate(members)
    ]
    write_plan(pa.Table.from_pylist(left, PLAN_SCHEMA), alone.plan)
    for job in (void, alone):
        run(job, [False])
    mine, theirs = (read_rows(job.out / "steps.jsonl") for job in (void, alone))
    assert [row["num_supervised"] for row in mine] == [row["num_supervised"] for row in theirs]
    assert [row["lr_language"] for row in mine] == [row["lr_language"] for row in theirs]
    assert [row["loss"] for row in mine] == pytest.approx([row["loss"] for row in theirs], rel=1e-5)
    for name, tensor in weights(void).items():
        torch.testing.assert_close(tensor, weights(alone)[name], rtol=1e-4, atol=1e-6, msg=name)


def test_another_order_has_the_same_records_at_other_steps_and_another_name(make_job: MakeJob) -> None:
    jobs = [make_job(f"order-{order}", order=order) for order in (0, 1, 2)]
    ids = [[row["record_id"] for row in planned(job)] for job in jobs]
    assert sorted(ids[0]) == sorted(ids[1]) == sorted(ids[2])
    assert len({tuple(order) for order in ids}) == 3
    specs = [plan_spec(job.recipe, "sft").model_dump(mode="json") for job in jobs]
    assert ["order" in spec for spec in specs] == [False, True, True]
    assert [spec.get("order") for spec in specs] == [None, 1, 2]
    one, other = (Void(record_ids=frozenset(ids), named_in="") for ids in ({"a"}, {"b"}))
    assert plan_spec(jobs[0].recipe, "sft", one) != plan_spec(jobs[0].recipe, "sft", other)


def test_ids_that_are_no_record_are_one_clear_error(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job("bad")
    with pytest.raises(BadInput, match=r"void \(mine\): 1 of 2 ids are no record of this mix \(the first: 'cat-1'\)"):
        voiding(job, Void(record_ids=frozenset({"cat-1", "tiny-00000001"}), named_in="mine"))
    with pytest.raises(BadInput, match="names no record; expected at least one record_id"):
        of_ids([" ", ""], "a query")
    with pytest.raises(BadInput, match="cannot be read"):
        read_ids(tmp_path / "nothing.txt")
    with pytest.raises(BadInput, match="void: /dev/zero: is no regular file"):
        read_ids(Path("/dev/zero"))
    (tmp_path / "ids.txt").write_text("tiny-00000001\n\n tiny-00000002 \n")
    assert read_ids(tmp_path / "ids.txt").record_ids == {"tiny-00000001", "tiny-00000002"}
    voiding(job, of_ids(["elsewhere-1", "tiny-00000001"], "a query", all_there=False))
    assert sum(row["void"] for row in planned(job)) == 1


def test_whether_the_parts_move_is_looked_at_when_a_picture_was_first_learned_from(make_job: MakeJob) -> None:
    """Twelve void records are all of the first three steps, with pictures among them: nothing can have moved there."""
    job = make_job("late")
    assert check_after(PlannedSteps(job.plan), 6) == 2
    voiding(job, Void(record_ids=frozenset(row["record_id"] for row in planned(job)[:12]), named_in="test"))
    assert check_after(PlannedSteps(job.plan), 6) == 3
    run(job, [False])
    texts = make_job("texts")
    pictures = frozenset(row["record_id"] for row in planned(texts) if row["num_images"])
    voiding(texts, Void(record_ids=pictures, named_in="test"))
    assert check_after(PlannedSteps(texts.plan), 6) == 2  # no picture is learned from: told soon
