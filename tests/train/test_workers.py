"""Reading in forked worker processes, whatever their parent did before."""

from __future__ import annotations

import errno
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tinyllava_core import workers
from tinyllava_core.data.tensors.stream import PlannedPacks, lost_worker, stream
from tinyllava_core.errors import BadInput
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
    plain, ahead = (list(stream(packs, first_step, 0, 2, workers=number)) for number in (0, 2))
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


class NotHandedOver:
    """What pickles as a tensor does for which there is no room in /dev/shm."""

    def __reduce__(self) -> str:
        raise RuntimeError("unable to allocate shared memory(shm): No space left on device (28)")


def test_a_pack_that_cannot_be_handed_over_is_one_line_and_not_waited_for_without_end(
    make_job: Callable[..., TrainJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's queue prints and lets it go; a container's /dev/shm holds 64 MB."""
    job = make_job("full")
    packs = PlannedPacks(job.shards, job.plan, reading(job))
    monkeypatch.setattr("tinyllava_core.data.tensors.stream.join", lambda *_, **__: NotHandedOver())
    with pytest.raises((BadInput, RuntimeError)) as caught:  # told by the loader, or by the signal that a child ended
        list(stream(packs, 0, 0, 1, workers=1))
    told = caught.value if isinstance(caught.value, BadInput) else lost_worker(caught.value)
    assert "docker run --shm-size" in str(told)


def test_where_processes_can_share_nothing_this_one_reads_alone_and_says_so(
    make_job: Callable[..., TrainJob], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = make_job("alone")
    packs = PlannedPacks(job.shards, job.plan, reading(job))
    monkeypatch.setattr(workers, "SHARED", tmp := Path("/proc"))  # which has no room at all
    assert workers.cannot_share() == f"fewer than 33,554,432 bytes are free in {tmp}"
    children = multiprocessing.active_children()
    assert len(list(stream(packs, 0, 0, 1, workers=2))) == 6
    assert multiprocessing.active_children() == children
    assert "note: fewer than 33,554,432 bytes are free in /proc: pictures are read in" in capsys.readouterr().err


def test_parts_are_done_here_where_no_lock_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_lock(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(type(multiprocessing.get_context("spawn")), "Lock", no_lock)
    assert list(workers.run_parts(str, [1, 2], processes=2)) == [(1, "1"), (2, "2")]
    assert workers.cannot_share() == f"no lock can be made in {workers.SHARED}: Read-only file system"


def test_a_worker_tokenizes_though_its_parent_did_so_in_threads_before(
    make_job: Callable[..., TrainJob], monkeypatch
) -> None:
    """With TOKENIZERS_PARALLELISM set, the forked process waits for threads that were not forked along, for ever."""
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    job = make_job("workers")
    process = multiprocessing.get_context("spawn").Process(target=_with_parts, args=(job, *_rows()))
    process.start()
    process.join(300)  # it imports torch first, on whatever the machine has left
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
