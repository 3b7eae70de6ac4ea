"""Bring a hub's Parquet here, through the `datasets` library and its cache (HF_HOME): rows as JSON lines, pictures as files.

The library runs in a process tree of its own (hub_process.py), because what it does on the network cannot be
interrupted from within. HF_HUB_OFFLINE, HF_ENDPOINT and HF_TOKEN mean what they mean to the library.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyllava_core.artifact import write_aside
from tinyllava_core.data.files.archive import merge
from tinyllava_core.data.manifest.hub import HubImages, HubRows
from tinyllava_core.errors import BadInput
from tinyllava_core.job import Progress
from tinyllava_core.process_tree import run_watched

OnRows = Callable[[int, int], None]  # (rows done, rows in all)


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """What came out of a hub's dataset."""

    num_rows: int
    size_bytes: int
    sha256: str  # over everything that was written, in the order of the rows
    without_picture: tuple[str, ...] = ()  # names of the rows that have none


def bring_rows(
    hub: HubRows, home: Path, to: Path, work: Path, *, stall_s: float = 300.0, on_rows: OnRows | None = None
) -> Brought:
    """Write the rows of a dataset to the JSON-lines file `to`; a local repo's path starts at `home`.

    Raises BadInput if the dataset is neither in the cache nor to be had, or has no such split or column; Stalled or
    RuntimeError if the library gave up.
    """
    return _run(hub, home, work, {"rows_to": str(to)}, stall_s, on_rows)


def bring_images(
    hub: HubImages, home: Path, into: Path, work: Path, *, stall_s: float = 300.0, on_rows: OnRows | None = None
) -> Brought:
    """Write the pictures of a dataset into the folder `into`, all or nothing. Raises as `bring_rows` does."""
    staging = into.parent / f".{into.name}.hub"
    shutil.rmtree(staging, ignore_errors=True)  # of a killed call
    staging.mkdir(parents=True)
    try:
        brought = _run(hub, home, work, {"images_into": str(staging)}, stall_s, on_rows)
        merge(hub.written(), staging, into)
        return brought
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _run(
    hub: HubRows, home: Path, work: Path, where: dict[str, str], stall_s: float, on_rows: OnRows | None
) -> Brought:
    work.mkdir(parents=True, exist_ok=True)
    repo = str((home / hub.repo).resolve()) if hub.is_local else hub.repo
    if hub.is_local and not Path(repo).is_dir():
        raise BadInput(f"{hub.written()}: no folder {repo} (relative paths start at the manifest's folder)")
    arguments, result, log = work / "hub.json", work / "hub-result.json", work / "hub-log.txt"
    result.unlink(missing_ok=True)
    log.unlink(missing_ok=True)
    asked = hub.model_dump(mode="json") | {"repo": repo, "written": hub.written(), "result": str(result)} | where
    write_aside(arguments, json.dumps(asked, indent=1))
    code = run_watched(
        [sys.executable, "-P", "-m", "tinyllava_core.data.download.hub_process", str(arguments)],
        environment={
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "PYTHONUNBUFFERED": "1",
        },
        log=log,
        progress=_Watch(log, hub, on_rows),
        stall_s=stall_s,
    )
    said = log.read_text(errors="replace").splitlines()
    if code == 2 and (errors := [line for line in said if line.startswith("error: ")]):
        raise BadInput(errors[-1].removeprefix("error: "))
    if not result.exists():
        raise RuntimeError(f"{hub.written()}: its process ended with exit code {code}: {' | '.join(said[-3:])}")
    found: dict[str, Any] = json.loads(result.read_text())
    return Brought(**found | {"without_picture": tuple(found["without_picture"])})


class _Watch:
    """What can be seen of the library from outside: what it says, and what grows in its cache."""

    def __init__(self, log: Path, hub: HubRows, on_rows: OnRows | None) -> None:
        cache = os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME", "~/.cache/huggingface"), "hub")
        name = f"datasets--{hub.repo.replace('/', '--')}"
        self._blobs = Path(cache).expanduser() / name / "blobs"
        self._log, self._on_rows, self._at = log, on_rows, 0

    def __call__(self) -> Hashable:
        """Tell the rows done; give a value that changes as long as anything moves."""
        with self._log.open("rb") as file:
            file.seek(self._at)
            gained = file.read()
        whole = gained[: gained.rfind(b"\n") + 1]
        self._at += len(whole)
        for line in whole.decode(errors="replace").splitlines():
            if self._on_rows and (progress := Progress.parse(line)) is not None:
                self._on_rows(progress.done, progress.total)
        blobs = sum(entry.stat().st_size for entry in os.scandir(self._blobs)) if self._blobs.is_dir() else 0
        return self._at + len(gained) - len(whole), blobs
