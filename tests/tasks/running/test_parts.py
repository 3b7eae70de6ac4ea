"""Parts on a cluster: the same bytes as on this machine, faults as they were, retries where they may help."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from data.planted import LIMITS, PlantedSource, plant

from tasks.download import download
from tasks.inspect import inspect
from tasks.mix import mix
from tasks.plan import plan
from tasks.run import Run
from tasks.running import parts
from tasks.running.parts import batched, do_parts, opened
from tasks.running.runner import check_runner
from tasks.shard import shard
from tasks.source import Source, source_images
from tinyllava_core.errors import BadInput
from tinyllava_core.recipe import load
from tinyllava_core.settings.launch import Launch
from tinyllava_core.workers import RunParts, run_parts

FILES = ("inspect/*/*.parquet", "shard/*/*.tar", "shard/*/*.parquet", "shard/*/README.md", "plan/*/*.parquet")


def made(workspace: Path, source: PlantedSource, run_parts: RunParts) -> dict[str, bytes]:
    """Inspect, mix, shard and plan a source with the stages' own tasks; give the bytes of every table and tar."""
    overrides = {
        "sft.mix": [{"source": str(source.manifest)}],
        "evaluate.benchmarks": [],  # whose pictures the mix would be compared with
        "sft.max_lost_fraction": 0.9,
        "inspect": LIMITS.model_dump(),
        "shard.records_per_shard": 7,
    }
    run = Run(run_id="planted", workspace=workspace, recipe=load("toy", overrides), run_parts=run_parts)
    (entry,) = run.recipe.sft.mix
    downloaded = download.fn(run, entry.source)
    inspected = inspect.fn(run, entry.source, downloaded, 0.9, {})
    images = source_images(entry.source, downloaded, {})
    sources = {entry.source: Source(downloaded=downloaded, inspected=inspected, images=images)}
    mixed = mix.fn(run, "sft", sources, {})
    plan.fn(run, "sft", shard.fn(run, "sft", mixed, sources))
    files = [file for pattern in FILES for file in (workspace / "artifacts").glob(pattern)]
    return {str(file.relative_to(workspace)): file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def on_dask(prefect_server: str) -> Iterator[RunParts]:
    """A Dask cluster of two processes on this machine."""
    with opened(Launch(data_runner="dask", data_processes=2)) as run_on_dask:
        yield run_on_dask


def test_a_dask_cluster_makes_the_bytes_that_this_process_makes(
    tmp_path: Path, on_dask: RunParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinyllava_core.data.inspect.inspect.RECORDS_PER_PART", 11)
    monkeypatch.setattr(parts, "BATCHES_PER_WORKER", 1)
    monkeypatch.setattr("tinyllava_core.data.inspect.inspect.IMAGES_PER_PART", 9)
    source = max(plant(tmp_path / "tree", more=20).values(), key=lambda planted: len(planted.cases))
    done_there: list[str] = []

    def watched(do: Any, waiting: Any, processes: int) -> Iterator[tuple[Any, Any]]:
        for part, done in on_dask(do, waiting, processes):
            done_there.append(do.func.__name__)
            yield part, done

    there = made(tmp_path / "there", source, watched)
    here = made(tmp_path / "here", source, run_parts)
    assert here == there
    tars = len([name for name in here if name.endswith(".tar")])
    assert tars > 3
    assert (done_there.count("write_part"), done_there.count("plan_part")) == (tars, tars)
    assert done_there.count("inspect_part") > 4


def where(number: int) -> tuple[int, int]:
    return number, os.getpid()


def test_every_part_is_done_once_and_not_here(on_dask: RunParts) -> None:
    found = dict(on_dask(where, range(20), 1))
    assert sorted(found) == list(range(20))
    assert all(number == told for number, (told, _) in found.items())
    processes = {process for _, process in found.values()}
    assert 1 <= len(processes) <= 2
    assert os.getpid() not in processes
    assert list(on_dask(where, [], 1)) == []


def at_fault(counts: Path, part: int) -> int:
    with (counts / str(part)).open("a") as file:
        file.write("x")
    if part == 2:
        raise BadInput(f"{part}: is wrong; correct it")
    return part


def test_a_fault_of_the_input_comes_back_as_it_was_and_is_not_tried_again(tmp_path: Path, on_dask: RunParts) -> None:
    with pytest.raises(BadInput, match=r"^2: is wrong; correct it$"):
        list(on_dask(partial(at_fault, tmp_path), range(3), 1))
    assert (tmp_path / "2").read_text() == "x"


def fails_once(counts: Path, part: int) -> int:
    with (counts / str(part)).open("a") as file:
        file.write("x")
    if part == 1 and (counts / "1").read_text() == "x":
        raise ConnectionError("the store did not answer")
    return part


def test_what_may_pass_is_tried_again(
    tmp_path: Path, prefect_server: str, on_dask: RunParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "do_parts", do_parts.with_options(retry_delay_seconds=0))
    assert sorted(done for _, done in on_dask(partial(fails_once, tmp_path), range(2), 1)) == [0, 1]
    assert [(tmp_path / name).read_text() for name in "01"] == ["x", "xx"]


def test_no_scheduler_at_the_address_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import dask

    launch = Launch(data_runner="dask", data_address="tcp://127.0.0.1:9")
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "0.3s"}),
        opened(launch) as run_there,
        pytest.raises(BadInput, match=r"no dask scheduler answers at tcp://127\.0\.0\.1:9"),
    ):
        list(run_there(where, [1], 1))


def test_a_package_that_is_not_installed_is_told_before_anything_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    check_runner(Launch())
    for runner in ("dask", "ray"):
        with pytest.raises(BadInput, match=rf"needs the package prefect-{runner}, .*pip install '.*\[{runner}\]'$"):
            check_runner(Launch(data_runner=runner))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"data_address": "tcp://h:8786"}, "data_address needs data_runner"),
        ({"data_runner": "dask", "data_address": "tcp://h:8786", "data_processes": 2}, "its own matter"),
    ],
)
def test_an_address_without_a_cluster_and_processes_without_effect_are_refused(fields: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Launch(**fields)


def test_batches_are_neighbours_and_nearly_equal() -> None:
    assert batched(range(10), 4) == [range(0, 2), range(2, 5), range(5, 7), range(7, 10)]
    assert batched([1, 2], 8) == [[1], [2]]


def test_a_run_that_is_sent_elsewhere_leaves_its_cluster_here(run: Run) -> None:
    with opened(Launch(data_runner="dask")) as run_there:
        sent = pickle.loads(pickle.dumps(replace(run, run_parts=run_there)))
    assert sent == run
