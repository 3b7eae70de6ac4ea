"""A training on a file system that is full in its midst: one line, and the same end once there is room."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from train.conftest import new_job

from tinyllava_core.job import TrainJob
from tinyllava_core.train import loop
from tinyllava_core.train.__main__ import main
from tinyllava_core.train.ledger import read_rows


@pytest.mark.parametrize("fills_at", [1, 4, 6])
def test_a_disk_that_fills_up_is_one_line_and_the_same_weights_in_the_end(
    small_disk,
    tiny_shards: Path,
    tiny_parts: Path,
    make_job: Callable[..., TrainJob],
    monkeypatch,
    capsys,
    fills_at: int,
) -> None:
    """Before the first state, at the second, and in the last step, before the checkpoint."""
    whole, disk = make_job("whole"), small_disk("40m")
    assert main([str(whole.out / "job.yaml")]) == 0
    job, true_run_packs, calls = new_job(tiny_shards, disk, "full"), loop.run_packs, [0]

    def fill_the_disk(*args: Any) -> torch.Tensor:
        calls[0] += 1
        if calls[0] == fills_at:
            with suppress(OSError), (disk / "other").open("wb", 0) as other:
                while other.write(bytes(1 << 12)):
                    pass
        return true_run_packs(*args)

    monkeypatch.setattr(loop, "run_packs", fill_the_disk)
    capsys.readouterr()
    assert main([str(job.out / "job.yaml")]) == 2
    (told,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "bytes are free" in told
    assert str(disk) in told
    assert not list(job.out.rglob(".*.partial"))
    assert not (job.out / "checkpoint").exists()
    monkeypatch.setattr(loop, "run_packs", true_run_packs)
    (disk / "other").unlink()
    assert main([str(job.out / "job.yaml")]) == 0
    ours, theirs = (load_file(one.out / "checkpoint" / "model.safetensors") for one in (job, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert [row["step"] for row in read_rows(job.out / "steps.jsonl")] == list(range(6))
