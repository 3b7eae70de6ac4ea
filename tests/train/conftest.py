"""A tiny training job: 22 records, 6 steps of 4, real classes, real tars."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import make_shards, png

from tinyllava_core.data.plan.plan import plan, plan_spec
from tinyllava_core.job import TrainJob
from tinyllava_core.recipe import Recipe
from tinyllava_core.train import loop
from tinyllava_core.train.__main__ import run

COLOURS = ["red", "blue", "green", "no it is not", "2 cats sit on the mat"]


@pytest.fixture(scope="session")
def tiny_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shards"
    records = []
    for number in range(22):
        images = [] if number % 5 == 4 else [png(number)] * (2 if number == 7 else 1)
        turns = [("user", "<image>" * len(images) + "\nwhat colour is the cat?"), ("assistant", COLOURS[number % 5])]
        if number % 3 == 0:
            turns += [("user", "how many?"), ("assistant", str(number))]
        records.append((turns, images))
    make_shards(folder, records)
    return folder


def run_until_killed(job: TrainJob, dies_after: int) -> None:
    """Run a job as far as so many steps; what was to be saved until then is saved. What a death in between leaves is test_writing's."""
    left, true_run_packs = iter(range(dies_after)), loop.run_packs

    def die(*args: Any) -> torch.Tensor:
        if next(left, None) is None:
            for thread in threading.enumerate():
                if thread.name == "resume-writer":
                    thread.join()
            raise KeyboardInterrupt
        return true_run_packs(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "run_packs", die)
        with pytest.raises(KeyboardInterrupt):
            run(job, [False])


@pytest.fixture
def make_job(tiny_parts: Path, tiny_shards: Path, tmp_path: Path) -> Callable[..., TrainJob]:
    """Make a job with a plan of its own; the later stage's fields and `launch` may be set, `name` keeps jobs apart."""
    return partial(new_job, tiny_shards, tmp_path)


def new_job(
    shards: Path,
    home: Path,
    name: str,
    *,
    launch: dict[str, Any] | None = None,
    watch: dict[str, Any] | None = None,
    start: Path | None = None,
    stage: str = "sft",
    model: dict[str, Any] | None = None,
    **sft: Any,
) -> TrainJob:
    """Make a job in a folder of its own under `home`."""
    stage_fields = {
        "mix": [{"source": "tiny"}],
        "max_length": 128,
        "global_batch": 4,
        "lr": 1e-2,
        "precision": "fp32",
        "save_every": 2,
        "data_workers": 0,
        "language": {"trainable_from_layer": 0},
    } | sft
    recipe = Recipe.parse(
        {
            "name": "tiny",
            "model": {"vision": "tiny", "language": "tiny"} | (model or {}),
            "pretrain": {
                "mix": [{"source": "tiny"}],
                "global_batch": 8,
                "lr": 1e-3,
                "precision": "fp32",
                "max_length": 128,
                "data_workers": 0,
            },
            **({"second_pretrain": stage_fields} if stage == "second_pretrain" else {}),
            "sft": stage_fields,
            "launch": launch or {},
            "watch": watch or {},
        },
        "test",
    )
    out = home / name
    (out / "plan").mkdir(parents=True)
    plan(shards, plan_spec(recipe, stage), out / "plan")
    (out / "train").mkdir()
    job = TrainJob.parse(
        {
            "stage": stage,
            "recipe": recipe,
            "shards": shards,
            "plan": out / "plan",
            "start": start,
            "out": out / "train",
        },
        "test",
    )
    job.write(out / "train" / "job.yaml")
    return job


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Tiny tensors gain nothing from threads, and lose much on a busy machine."""
    torch.set_num_threads(1)
