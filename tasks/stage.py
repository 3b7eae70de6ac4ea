"""A stage of the flow: Prefect's task inside a flow run; outside of one, where nothing is watched, the plain function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext

from tasks.running.server import wait_for_it

P = ParamSpec("P")
R = TypeVar("R")


class Stage(Task[P, R]):
    """A task whose call needs no server where no flow run is: a run that finds everything made starts none."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:  # type: ignore[override]
        """Run the stage."""
        if FlowRunContext.get() is None:
            return self.fn(*args, **kwargs)
        wait_for_it()
        return super().__call__(*args, **kwargs)  # type: ignore[no-any-return, misc]


def stage(
    name: str, task_run_name: Callable[[], str] | str | None = None, **how: Any
) -> Callable[[Callable[P, R]], Stage[P, R]]:
    """Make a function a stage. `how`: what else Prefect's task takes; its own cache of results is off, artifacts are ours."""

    def made(do: Callable[P, R]) -> Stage[P, R]:
        return Stage(
            do,
            name=name,
            task_run_name=task_run_name or name,
            tags=[name],
            cache_policy=NO_CACHE,
            persist_result=False,
            **how,
        )

    return made
