"""A run: one start of the pipeline, with what is needed to tell later what it was. It knows nothing of stages."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import platform
import secrets
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from prefect.exceptions import TerminationSignal
from prefect.runtime import flow_run
from prefect.utilities.urls import url_for

from tasks.running.alive import alive, is_cancelled
from tasks.running.books import check, leave, publish
from tasks.running.events import Events, check_place, of_run
from tasks.running.named import tag
from tasks.running.parts import opened
from tasks.running.progress import CONSOLE, LOG, slug
from tasks.running.runner import check_runner
from tasks.source import check_recipe
from tinyllava_core.artifact import check_workspace
from tinyllava_core.lineage.running import running
from tinyllava_core.paths import expanded
from tinyllava_core.recipe import Recipe
from tinyllava_core.workers import RunParts, run_parts

CLONE = Path(__file__).parents[1]
PACKAGES = ("prefect", "torch", "transformers", "datasets", "webdataset", "img2dataset", "duckdb", "deepspeed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What every stage of a run needs to know of it."""

    run_id: str  # of the lineage: recipe, time, chance
    workspace: Path  # absolute
    recipe: Recipe
    run_parts: RunParts = run_parts  # has the parts of a data stage done
    events: Events | None = None  # tells others of its stages
    looking: bool = False  # only asks whether all is there: makes nothing, remembers nothing, says nothing


class NotMade(Exception):
    """What a run would have to make is not there: said to one that is only looking."""


_looking: ContextVar[bool] = ContextVar("looking", default=False)


def is_all_made(walk: Callable[[], object]) -> bool:
    """Walk through a flow, called plainly, and tell whether all that it makes is there. Raises BadInput as the run would."""
    token, disabled, quiet = _looking.set(True), LOG.disabled, CONSOLE.quiet
    LOG.disabled = CONSOLE.quiet = True
    try:
        walk()
    except NotMade:
        return False
    finally:
        _looking.reset(token)
        LOG.disabled, CONSOLE.quiet = disabled, quiet
    return True


@contextlib.contextmanager
def begin(recipe: Recipe, overrides: Mapping[str, Any] | None, workspace: str, to_train: bool = True) -> Iterator[Run]:
    """Remember that a run begins, give it to the block, and remember how it ended. A killed run has no end.

    Raises BadInput if a manifest that the recipe names is wrong, or something that it needs cannot be had.
    """
    check_recipe(recipe, to_train)
    check_runner(recipe.launch)
    check_workspace(expanded(workspace))
    now, place = datetime.now(UTC), expanded(workspace).resolve()
    check_place(recipe.watch.openlineage, place)
    if _looking.get():
        yield Run(run_id="", workspace=place, recipe=recipe, looking=True)
        return
    place.mkdir(parents=True, exist_ok=True)
    run = Run(run_id=f"{slug(recipe.name)}-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}", workspace=place, recipe=recipe)
    leave(place, "run", run.run_id, [_row(run, overrides or {}, now)])
    publish(place)  # a run is seen from its first second
    state = "Crashed"
    told = of_run(recipe.watch.openlineage, place, run.run_id, recipe.name)
    with running(place, run.run_id), alive(place, flow_run.id), opened(recipe.launch) as run_parts, told as events:
        LOG.info("run       %s, workspace %s", run.run_id, place)
        if flow_run.id:
            LOG.info("watch     %s", url_for("flow-run", flow_run.id))
            tag(flow_run.id, [f"recipe:{recipe.name}"])
        try:
            yield replace(run, run_parts=run_parts, events=events)
            state = "Completed"
        except Exception:
            state = "Failed"
            raise
        except TerminationSignal:
            state = "Cancelled" if flow_run.id and is_cancelled(flow_run.id) else state
            raise
        finally:
            leave(place, "run_end", run.run_id, [{"run_id": run.run_id, "ended_at": datetime.now(UTC), "state": state}])
            publish(place)
    check(place)


def _row(run: Run, overrides: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    recipe = run.recipe.as_yaml()
    status = _git("status", "--porcelain", "--untracked-files=no")
    return {
        "run_id": run.run_id,
        "recipe": run.recipe.name,
        "recipe_yaml": recipe,
        "recipe_sha256": sha256(recipe.encode()).hexdigest(),
        "overrides_json": json.dumps(overrides, sort_keys=True),
        "flow_run_id": flow_run.id,
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": None if status is None else status != "",
        "packages_json": json.dumps({name: importlib.metadata.version(name) for name in PACKAGES}),
        "host": platform.node(),
        "seed": run.recipe.seed,
        "started_at": now,
    }


def _git(*arguments: str) -> str | None:
    """Ask git about the clone that this code runs from; None without git, or outside a clone."""
    try:
        ran = subprocess.run(["git", *arguments], cwd=CLONE, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ran.stdout.strip() if ran.returncode == 0 else None
