"""Where the parts of inspect, shard and plan are done: by processes of this machine, or by a Dask or Ray cluster.

The core cuts a stage into parts that leave files, and puts these together; it knows nothing of Prefect. On a cluster a
mapped task does a batch of parts: a task there costs 0.1 s and more before it begins (docs/beyond-one-machine.md).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.futures import as_completed

from tasks.running.progress import LOG
from tasks.running.retry import may_help
from tinyllava_core.errors import BadInput
from tinyllava_core.settings.launch import Launch
from tinyllava_core.workers import Done, Part, RunParts, num_cpus, run_parts

BATCHES_PER_WORKER = 4  # few, for what each costs; more than one, for the last to end at nearly the same time


@task(
    name="parts",
    task_run_name="{name}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=may_help,
)
def do_parts(name: str, do: Callable[[Part], Done], parts: Sequence[Part]) -> list[Done]:
    """Do a batch of parts, one after the other, wherever this runs."""
    return [do(part) for part in parts]


@contextlib.contextmanager
def opened(launch: Launch) -> Iterator[RunParts]:
    """Give what does the parts of a run's stages. A cluster is asked for when the first part is, and left at the end."""
    if launch.data_runner == "local":
        yield run_parts
        return
    with contextlib.ExitStack() as until_the_end:
        yield OnCluster(launch, until_the_end)


class OnCluster:
    """Does parts on a cluster: `run_parts` of workers.py, on other machines."""

    def __init__(self, launch: Launch, until: contextlib.ExitStack) -> None:
        self._launch, self._until = launch, until
        self._cluster: _Cluster | None = None

    def __call__(
        self, do: Callable[[Part], Done], parts: Iterable[Part], processes: int
    ) -> Iterator[tuple[Part, Done]]:
        """Do every part -> (part, what it gave), in the order in which the batches are done. The cluster has its own processes.

        The first exception of a part ends all, once its task has been tried again; what other parts have left stays.
        """
        waiting = list(parts)
        if not waiting:
            return
        if self._cluster is None:
            self._cluster = _start(self._launch, self._until)
        cluster, batches = self._cluster, batched(waiting, BATCHES_PER_WORKER * self._cluster.num_workers())
        futures = {}
        try:
            for number, batch in enumerate(batches, 1):
                name = f"{_name(do)}: batch {number} of {len(batches)}"
                futures[cluster.runner.submit(do_parts, {"name": name, "do": do, "parts": batch})] = batch
            for future in as_completed(list(futures)):
                yield from zip(futures.pop(future), future.result(), strict=True)
        finally:
            for future in futures:
                cluster.cancel(future.wrapped_future)

    def __reduce__(self) -> tuple[Callable[[], RunParts], tuple[()]]:
        return _local, ()  # Prefect sends a task's surroundings along, and with them the run: the cluster stays here


def batched(parts: Sequence[Part], most: int) -> list[Sequence[Part]]:
    """Cut parts into at most `most` batches of neighbours, nearly equally large."""
    count = min(len(parts), most)
    return [parts[len(parts) * number // count : len(parts) * (number + 1) // count] for number in range(count)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cluster:
    """What there is to know of a cluster, whichever it is."""

    runner: Any  # one of Prefect's task runners, started
    num_workers: Callable[[], int]
    cancel: Callable[[Any], Any]  # of the runner's own kind of future


def _start(launch: Launch, until: contextlib.ExitStack) -> _Cluster:
    """Reach the cluster, or start one here. Raises BadInput if nothing answers at its address."""
    try:
        cluster = {"dask": _dask, "ray": _ray}[launch.data_runner](launch, until)
        num_workers = cluster.num_workers()
    except (OSError, TimeoutError) as error:  # a ConnectionError is an OSError
        if launch.data_address is None:
            raise
        raise BadInput(
            f"launch.data_address: no {launch.data_runner} scheduler answers at {launch.data_address} ({error}); start "
            "it, or correct the address"
        ) from None
    where = launch.data_address or "this machine"
    LOG.info("parts     on %s at %s, %d workers", launch.data_runner, where, num_workers)
    return cluster


def _dask(launch: Launch, until: contextlib.ExitStack) -> _Cluster:
    from prefect_dask import DaskTaskRunner

    workers = {"n_workers": launch.data_processes or num_cpus(), "threads_per_worker": 1, "dashboard_address": None}
    runner = until.enter_context(
        DaskTaskRunner(address=launch.data_address) if launch.data_address else DaskTaskRunner(cluster_kwargs=workers)
    )
    return _Cluster(
        runner=runner,
        num_workers=lambda: max(1, sum(runner.client.nthreads().values())),
        cancel=lambda future: future.cancel(),
    )


def _ray(launch: Launch, until: contextlib.ExitStack) -> _Cluster:
    import ray
    from prefect_ray import RayTaskRunner

    here = {"num_cpus": launch.data_processes or num_cpus(), "include_dashboard": False}
    options: dict[str, Any] = {"log_to_driver": False} | ({} if launch.data_address else here)
    runner = until.enter_context(RayTaskRunner(address=launch.data_address, init_kwargs=options))
    return _Cluster(
        runner=runner, num_workers=lambda: max(1, int(ray.cluster_resources().get("CPU", 1))), cancel=ray.cancel
    )


def _name(do: Callable[..., Any]) -> str:
    inner = do.func if isinstance(do, functools.partial) else do
    return str(getattr(inner, "__name__", "parts"))


def _local() -> RunParts:
    return run_parts
