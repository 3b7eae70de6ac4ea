"""When a task that failed is worth another try. How often and how soon is said at each task."""

from __future__ import annotations

from typing import Any

from prefect.client.schemas.objects import TaskRun

from tinyllava_core.data.web.fetch import NoHost
from tinyllava_core.errors import BadInput


def may_help(task: Any, task_run: TaskRun, state: Any) -> bool:
    """Tell whether trying again may help: not where the user's input is at fault, or there is no network."""
    return not isinstance(state.result(raise_on_failure=False), BadInput | NoHost)


def store_may_answer(task: Any, task_run: TaskRun, state: Any) -> bool:
    """Tell whether it was a store or a server that did not answer well."""
    return isinstance(state.result(raise_on_failure=False), ConnectionError)
