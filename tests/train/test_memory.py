"""Out of memory: packs are halved once, the gradients stay, and what comes after is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks import train as task
from tasks.running.launch import JobFailed
from tinyllava_core.errors import BadInput
from tinyllava_core.job import TrainJob
from tinyllava_core.model import checkpoint
from tinyllava_core.settings.launch import Launch
from tinyllava_core.train import loop, memory
from tinyllava_core.train.__main__ import main, run
from tinyllava_core.train.ledger import read_rows

MakeJob = Callable[..., TrainJob]


def test_halves_hold_each_record_and_image_once() -> None:
    from tinyllava_core.data.tensors.example import Pack

    lengths, image = [4, 3, 5], 9  # the second record has no image, the third has two images of 2 tokens
    ids = torch.tensor([9, 9, 1, 2, 3, 4, 5, 9, 9, 9, 9, 6])
    pack = Pack(
        ids_T=ids,
        labels_T=ids.clone(),
        position_T=torch.cat([torch.arange(length) for length in lengths]),
        record_T=torch.repeat_interleave(torch.arange(3), torch.tensor(lengths)),
        pixels_N3HW=torch.arange(3).view(3, 1, 1, 1).expand(3, 3, 2, 2).to(torch.uint8),
        tiles=(1, 0, 2),
    )
    (first, one), (second, two) = memory.halves(pack, image)
    assert one
    assert two
    assert first.ids_T.tolist() == [9, 9, 1, 2, 3, 4, 5]  # 7 of 12 tokens is nearer to the middle than 4
    assert second.ids_T.tolist() == [9, 9, 9, 9, 6]
    assert second.position_T.tolist() == [0, 1, 2, 3, 4]
    assert second.record_T.tolist() == [2] * 5
    assert [len(half.pixels_N3HW) for half in (first, second)] == [1, 2]
    assert second.pixels_N3HW[:, 0, 0, 0].tolist() == [1, 2]
    alone = memory.halves(second, image)
    assert [(len(half.ids_T), counts) for half, counts in alone] == [(5, True), (5, False)]


def test_a_training_that_runs_out_of_memory_goes_on_with_halved_packs_to_the_same_weights(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, job = make_job("whole"), make_job("small")
    run(whole, [False])
    true_losses = loop.pack_losses
    longest = [0]

    def small_gpu(losses: Any, pack: Any, *rest: Any) -> torch.Tensor:
        longest[0] = max(longest[0], len(pack.ids_T))
        if len(pack.ids_T) > 100:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")
        return true_losses(losses, pack, *rest)

    monkeypatch.setattr(loop, "pack_losses", small_gpu)
    assert main([str(job.out / "job.yaml")]) == memory.EXIT_CODE
    assert "out of memory (CUDA out of memory): goes on" in capsys.readouterr().err
    assert job.has_halved_packs
    assert longest[0] > 100
    longest[0] = 0
    assert main([str(job.out / "job.yaml")]) == 0
    assert 0 < longest[0] <= 100
    for mine, theirs in zip(read_rows(job.out / "steps.jsonl"), read_rows(whole.out / "steps.jsonl"), strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
    ours, theirs = (checkpoint.load_model(j.out / "checkpoint").state_dict() for j in (job, whole))
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, atol=3e-3, rtol=1e-2, msg=name)


def test_half_packs_that_do_not_fit_either_are_one_clear_error(make_job: MakeJob) -> None:
    job = make_job("tiny")
    (job.out / "halved_packs").touch()
    with pytest.raises(BadInput, match=r"even with packs of half the size \(CUDA out of memory\); lower max_length"):
        memory.note(job, torch.OutOfMemoryError("CUDA out of memory. Tried"))


def test_the_stage_starts_such_a_job_once_more(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    job, calls = make_job("twice"), []

    def launch(job: TrainJob, how: Launch, title: str) -> None:
        calls.append(title)
        (job.out / "halved_packs").touch()
        raise JobFailed("its process ended with exit code 75")

    monkeypatch.setattr(task, "launch", launch)
    with pytest.raises(JobFailed):
        task.launch_again_halved(job, Launch())
    assert calls == ["sft", "sft"]
    with pytest.raises(JobFailed):  # halved already: not a third time
        task.launch_again_halved(job, Launch())
    assert calls == ["sft"] * 3


def test_recomputed_activations_change_no_gradient(make_job: MakeJob) -> None:
    kept = make_job("kept", vision={"trainable_from_layer": 1})
    again = make_job("again", vision={"trainable_from_layer": 1}, gradient_checkpointing=["vision", "language"])
    for job in (kept, again):
        run(job, [False])
    rows = [[row["loss"] for row in read_rows(Path(job.out) / "steps.jsonl")] for job in (kept, again)]
    assert rows[0] == pytest.approx(rows[1], rel=1e-5)
