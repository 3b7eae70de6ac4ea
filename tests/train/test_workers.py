"""Reading in forked worker processes, whatever their parent did before."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable

import pytest
import torch

from tinyllava_core.data.tensors.stream import PlannedPacks, stream
from tinyllava_core.job import TrainJob
from tinyllava_core.tokenizer import load_tokenizer
from tinyllava_core.train.__main__ import reading


def read_all(job: TrainJob) -> None:
    """Tokenize in the parent's threads, as a plan does; then read every step through a worker."""
    asked = reading(job)
    load_tokenizer(asked.tokenizer_folder).encode_many(["what colour?"] * 64)
    packs = PlannedPacks(job.shards, job.plan, asked)
    for _ in stream(packs, 0, 0, 1, workers=1):
        pass


@pytest.mark.parametrize("first_step", [0, 3, 5])
def test_workers_give_the_packs_of_every_step_in_order(make_job: Callable[..., TrainJob], first_step: int) -> None:
    job = make_job("order", max_length=48)  # several packs a step
    packs = PlannedPacks(job.shards, job.plan, reading(job))
    plain, ahead = (list(stream(packs, first_step, 0, 2, workers=workers)) for workers in (0, 2))
    assert len(plain) == len(ahead) == 6 - first_step
    for mine, theirs in zip(ahead, plain, strict=True):
        assert [counts for _, counts in mine] == [counts for _, counts in theirs]
        assert all(torch.equal(a.ids_T, b.ids_T) for (a, _), (b, _) in zip(mine, theirs, strict=True))


def test_a_fault_in_a_worker_is_raised_where_the_packs_are_used(
    make_job: Callable[..., TrainJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job("fault")
    packs = PlannedPacks(job.shards, job.plan, reading(job))
    monkeypatch.setattr("tinyllava_core.data.tensors.stream.opened", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(stream(packs, 0, 0, 1, workers=1))


def test_a_worker_tokenizes_though_its_parent_did_so_in_threads_before(
    make_job: Callable[..., TrainJob], monkeypatch
) -> None:
    """With TOKENIZERS_PARALLELISM set, the forked process waits for threads that were not forked along, for ever."""
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    job = make_job("workers")
    process = multiprocessing.get_context("spawn").Process(target=_with_parts, args=(job, *_rows()))
    process.start()
    process.join(120)
    if process.exitcode is None:
        process.kill()
    assert process.exitcode == 0


def _rows() -> tuple[object, object]:
    from tinyllava_core.parts import LANGUAGES, VISIONS

    return VISIONS["tiny"], LANGUAGES["tiny"]


def _with_parts(job: TrainJob, vision: object, language: object) -> None:
    from tinyllava_core.parts import LANGUAGES, VISIONS

    VISIONS["tiny"], LANGUAGES["tiny"] = vision, language  # type: ignore[assignment]
    read_all(job)
