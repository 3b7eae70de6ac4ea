"""What a person sees of a stage on Prefect's pages: a text, a table, a picture, a link. It shows; it decides nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from prefect.context import TaskRunContext
from prefect.settings import get_current_settings

from tasks.running.key import key_file
from tasks.running.progress import LOG
from tasks.running.reports import place


def show(what: str, create: Callable[..., Any], **given: Any) -> None:
    """Make one of Prefect's artifacts for the task that runs here; outside of a task, none. A fault in showing stops nothing."""
    if TaskRunContext.get() is None:
        return
    try:
        create(**given)
    except Exception as error:
        LOG.warning("%s is not shown in Prefect: %s", what, error)


def table(result: Mapping[str, Any]) -> str:
    """Write a stage's result as a table of Markdown: names in words, numbers rounded, what is not there left out."""
    lines = [f"| {_name(field)} | {_value(field, value)} |" for field, value in result.items() if value is not None]
    return "\n".join(["| | |", "|---|---|", *lines])


def size(num_bytes: int) -> str:
    """Write a number of bytes in MB, a small one in kB."""
    return f"{num_bytes / 1e6:,.1f} MB" if num_bytes >= 1e5 else f"{num_bytes / 1e3:,.1f} kB"


def address(workspace: Path, stage: str, fingerprint: str) -> str | None:
    """Give the address of a report or a loss curve on the very server whose pages show it; None if that is not the workspace's own."""
    file = key_file(workspace)
    key = get_current_settings().api.auth_string
    asked = key.get_secret_value() if key is not None else None
    if asked is None or not file.is_file() or file.read_text() != asked:
        return None
    return place(asked, stage, fingerprint)


def _name(field: str) -> str:
    return field.removeprefix("num_").removesuffix("_bytes").replace("_", " ")


def _value(field: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if field.endswith("bytes") and isinstance(value, int):
        return size(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, str):
        return f"`{value[:12]}`" if "sha256" in field else value.replace("|", "\\|")
    text = json.dumps(value, ensure_ascii=False).replace("|", "\\|")
    return text if len(text) <= 200 else f"{text[:199]}…"
