"""Reading in forked worker processes, whatever their parent did before."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable

from tinyllava_core.data.stream import PlannedPacks, stream
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
