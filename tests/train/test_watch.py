"""What a training writes about itself, what stops it, and what a full disk does to it."""

from __future__ import annotations

import errno
import json
import resource
import signal
import struct
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from tensorboardX.proto.event_pb2 import Event
from torch.utils.flop_counter import FlopCounterMode

from tinyllava_core.errors import BadInput
from tinyllava_core.job import TrainJob
from tinyllava_core.model import checkpoint, trainable
from tinyllava_core.model.assemble import assemble
from tinyllava_core.train import flops, loop
from tinyllava_core.train.__main__ import run
from tinyllava_core.train.ledger import read_rows
from tinyllava_core.train.planned import PlannedSteps
from tinyllava_core.train.watch import Curves, Spikes

MakeJob = Callable[..., TrainJob]


def events(folder: Path) -> list[Event]:
    """Read TensorBoard's files the plain way: length, checksum, message, checksum."""
    found = []
    for file in sorted(folder.glob("events.*")):
        data, at = file.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            found.append(Event.FromString(data[at + 12 : at + 12 + length]))
            at += 12 + length + 4
    return found


def test_metrics_and_tensorboard_hold_every_step_and_the_parts_make_the_whole(make_job: MakeJob) -> None:
    job = make_job("metrics")
    run(job, [False])
    rows, steps = read_rows(job.out / "metrics.jsonl"), read_rows(job.out / "steps.jsonl")
    assert [row["step"] for row in rows] == [row["step"] for row in steps] == list(range(6))
    for row, step in zip(rows, steps, strict=True):
        assert row["loss_by_source"] == {"tiny": pytest.approx(step["loss"])}  # all records are of one source
        assert row["lr"] == {"connector": step["lr_connector"], "language": step["lr_language"]}
        parts = row["grad_norm_by_part"]
        assert set(parts) == {"connector", "language"}
        assert (parts["connector"] ** 2 + parts["language"] ** 2) ** 0.5 == pytest.approx(row["grad_norm"], rel=1e-5)
        assert row["samples_per_s"] * row["seconds"] == pytest.approx(step["num_records"])
        assert 0 <= row["data_wait_share"] <= 1
        assert row["mfu"] is None
        assert row["peak_memory_bytes"] is None
    curve = {
        event.step: event.summary.value[0].simple_value
        for event in events(job.out / "tensorboard")
        if event.summary.value and event.summary.value[0].tag == "loss"
    }
    assert curve == {row["step"]: pytest.approx(row["loss"], rel=1e-6) for row in rows}


def test_after_a_kill_the_curves_hold_each_step_once(make_job: MakeJob) -> None:
    job = make_job("again", save_every=100)
    with pytest.raises(loop.Stopped):
        run(job, [True])
    with (job.out / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 1, "loss": 9.0}) + "\n" + '{"step": 2, "lo')
    run(job, [False])
    rows = read_rows(job.out / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(6))
    assert rows[1]["loss"] != 9.0


def test_without_shared_memory_there_are_no_tensorboard_files_and_that_is_said(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_lock(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("multiprocessing.context.BaseContext.Lock", no_lock)
    assert Curves.open(make_job("no lock"), 0).loggers == []
    assert "TensorBoard's files are not written; metrics.jsonl has the same numbers" in capsys.readouterr().err


def test_a_spike_is_told_and_not_learned_from() -> None:
    spikes = Spikes(6.0)
    told = [spikes.seen(1.0 + 0.1 * (-1) ** step) for step in range(40)]  # mean 1, deviation 0.1
    assert not any(told)
    assert spikes.seen(1.59) is None  # 5.9 deviations; now in the memory
    assert "standard deviations above the mean" in str(spikes.seen(5.0))
    assert "standard deviations above the mean" in str(spikes.seen(5.0))  # the first was not remembered as normal
    assert Spikes(None).seen(1e9) is None


def test_a_spike_stops_a_training_that_asks_for_it_and_names_the_records(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job("spike", watch={"stop_on_spike": True})
    monkeypatch.setattr(Spikes, "seen", lambda _self, _loss: "loss 9 is far off")
    with pytest.raises(
        RuntimeError, match=r"step 0: loss 9 is far off; its records: tiny-0000\d+.*WHERE step = 0.*stop_on_spike"
    ):
        run(job, [False])


def test_a_loss_that_is_no_number_names_the_records_of_its_step(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job("nan")
    true_losses, calls = loop.pack_losses, [0]

    def losses(*args: Any) -> torch.Tensor:
        calls[0] += 1
        return true_losses(*args) * (float("nan") if calls[0] > 2 else 1.0)

    monkeypatch.setattr(loop, "pack_losses", losses)
    with pytest.raises(RuntimeError, match=r"step \d: loss nan, gradient norm nan; its records: tiny-"):
        run(job, [False])


def test_the_watchdog_names_the_step_shows_the_stacks_and_ends_the_process() -> None:
    program = """
        import time
        from tinyllava_core.train.watchdog import Watchdog

        def hang_here():
            time.sleep(60)

        with Watchdog(0.5, lambda step: f"its records: r-{step}") as dog:
            dog.beat(6)
            dog.beat(7)
            hang_here()
        """
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 70
    assert time.monotonic() - started < 50
    assert "step 7 has not ended in" in done.stderr
    assert "its records: r-7" in done.stderr
    assert "hang_here" in done.stderr


def test_a_full_disk_is_one_clear_error_and_the_last_state_is_whole(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, full = make_job("whole"), make_job("full")
    run(whole, [False])
    calls = [0]
    true_run_packs = loop.run_packs

    def until_the_disk_is_full(*args: Any) -> torch.Tensor:
        calls[0] += 1
        if calls[0] == 4:  # the states after steps 2 and 4: the second one does not fit
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        return true_run_packs(*args)

    monkeypatch.setattr(loop, "run_packs", until_the_disk_is_full)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(
            BadInput, match=r"the training state cannot be written.*the last whole state is step-00000002"
        ):
            run(full, [False])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    monkeypatch.setattr(loop, "run_packs", true_run_packs)
    assert [folder.name for folder in (full.out / "resume").iterdir()] == ["step-00000002"]
    run(full, [False])
    ours, theirs = (checkpoint.load_model(job.out / "checkpoint").state_dict() for job in (full, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("recipe", ["connector", "language", "all"])
def test_the_operations_of_a_step_are_those_that_torch_counts(make_job: MakeJob, recipe: str) -> None:
    parts: dict[str, Any] = {
        "connector": {"language": {}},
        "language": {},
        "all": {"vision": {"trainable_from_layer": 0}},
    }[recipe]
    job = make_job(recipe, **parts)
    training = job.recipe.sft
    model = assemble(job.recipe.model, 0).train()
    trainable.choose(model, training)
    pack = next(p for p in loaded_packs(job) if len(p.pixels_N3HW))
    pixels = pack.pixels_N3HW.float().requires_grad_(False)
    with FlopCounterMode(display=False) as counter:
        model.supervised_losses(pack.ids_T, pack.position_T, pack.record_T, pixels, pack.labels_T).sum().backward()
    counted: dict[str, int] = {}
    for counts in [counter.get_flop_counts()["Global"]]:
        for operation, number in counts.items():
            counted[str(operation)] = counted.get(str(operation), 0) + number
    matrices = sum(
        number for operation, number in counted.items() if "attention" not in operation and "conv" not in operation
    )
    cost = flops.cost(model)
    ours = cost.of(len(pack.ids_T), 0, pack.num_supervised, len(pixels))
    ours -= len(pixels) * encoder_attention(model, recipe)
    assert ours == pytest.approx(matrices, rel=0.02)


def encoder_attention(model: Any, recipe: str) -> float:
    vision = model.config.vision_config
    used = vision.num_hidden_layers - 1  # feature layer -2
    return 4 * used * vision.hidden_size * 9**2 * (3 if recipe == "all" else 1)


def loaded_packs(job: TrainJob) -> Any:
    from tinyllava_core.data.tensors.stream import PlannedPacks
    from tinyllava_core.train.__main__ import reading

    packs = PlannedPacks(job.shards, job.plan, reading(job))
    return [packs[step, 0] for step in range(len(packs.num_packs))]


def test_the_plan_tells_each_packs_sources_and_each_steps_work(make_job: MakeJob) -> None:
    job = make_job("planned", max_length=48)
    planned, table = PlannedSteps(job.plan), pq.read_table(job.plan / "plan.parquet").to_pylist()
    first = [row for row in table if row["step"] == 1]
    assert planned.sources == ["tiny"]
    assert planned.sources_of(1, 0).tolist() == [0] * sum(row["pack"] == 0 for row in first)
    assert planned.squares(1) == sum(row["num_tokens"] ** 2 for row in first)
    assert planned.num_tiles(1) == sum(row["num_tiles"] for row in first)
    assert planned.supervised_by_source(1) == [sum(row["num_supervised"] for row in first)]
    assert (
        planned.describe(1)
        == "its records: "
        + ", ".join(row["record_id"] for row in first)
        + " (SELECT record_id FROM plans WHERE step = 1)"
    )
