"""What a run is called on Prefect's pages, and the tags by which it is found there. It changes nothing else of a run."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from prefect import get_client
from prefect.context import TagsContext
from prefect.runtime import flow_run

from tasks.running.progress import LOG
from tinyllava_core.errors import BadInput
from tinyllava_core.recipe import RECIPES, load

ROADS, STUDY = RECIPES / "roads", "study:"  # STUDY: what the tag of a study's runs begins with


def name_of_run() -> str:
    """Name a run as it was named by whoever started it; else after what it does, the first fields set, and a fingerprint.

    A recipe's name says little once it was edited: runs of the same settings have the same six digits at the end.
    """
    given, name = flow_run.parameters, flow_run.name
    if name and not is_made_up(name):
        return str(name)
    if "study" in given:
        return f"study {Path(given['study']).stem}"
    if "checkpoint" in given:
        return f"evaluate {Path(given['checkpoint']).name}"
    overrides = given["overrides"] or {}
    if Path(given["recipe"]).parent == ROADS:  # what it lays over the recipe is not what a person set
        benchmarks, mix = overrides.get("evaluate.benchmarks") or (), overrides.get("sft.mix") or ()
        data = [*benchmarks, *(Path(entry["source"]).stem for entry in mix)]
        return " ".join([Path(given["recipe"]).stem, Path(overrides["start"]).name, "on", *data[:3]])
    variant = [f"{key}={value}" for key, value in overrides.items() if isinstance(value, int | float | str)]
    words = [Path(given["recipe"]).stem, *variant[:3]]
    with contextlib.suppress(BadInput):  # the flow will say it
        words.append(sha256(load(given["recipe"], overrides).as_yaml().encode()).hexdigest()[:6])
    return " ".join(words)


def study_of_run() -> str | None:
    """Name the study that the run is of, by the tag under which its flow runs."""
    tags = TagsContext.get().current_tags
    return next((word.removeprefix(STUDY) for word in sorted(tags) if word.startswith(STUDY)), None)


def page_of(study: str) -> Path:
    """Tell where in the workspace the page of a study is."""
    return Path("studies") / study / "study.html"


def is_made_up(name: str) -> bool:
    """Tell whether Prefect made a run's name up: two words of the lists that it draws from."""
    return bool(re.fullmatch("[a-z]+-[a-z]+", name)) and set(name.split("-")) <= _drawn_from()


@functools.cache
def _drawn_from() -> frozenset[str]:
    from coolname.data import config

    lists: list[dict[str, list[str]]] = list(config.values())  # type: ignore[arg-type]
    return frozenset(word for listed in lists for word in listed.get("words", ()))


def tag(flow_run_id: str, words: Iterable[str]) -> None:
    """Give a run tags beside those that it has. A server that is away is no fault."""
    try:
        with get_client(sync_client=True) as client:
            client.update_flow_run(flow_run_id, tags=sorted({*flow_run.tags, *words}))  # type: ignore[arg-type]
    except Exception as error:
        LOG.warning("the run is not tagged in Prefect: %s", error)
