"""The files of a data set of rows: on a hub, in its cache, or in a folder; of which subset each is, and one by one here.

A hub's file is fetched when it is needed, checked against the hub's own checksum, and may be deleted afterwards.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from tinyllava_core.artifact import file_sha256, write_aside
from tinyllava_core.data.download.embedded.hub_files_process import TROUBLE
from tinyllava_core.data.download.embedded.parquet_part import Few, write_part
from tinyllava_core.data.download.embedded.rows import JSONS, PARQUET, TABLES, TARS
from tinyllava_core.data.manifest.component import matches
from tinyllava_core.data.manifest.hub import HubRows
from tinyllava_core.data.web.patience import Patience
from tinyllava_core.errors import BadInput, nearest
from tinyllava_core.frozen import parse_yaml
from tinyllava_core.process_tree import run_watched, without_back_port
from tinyllava_core.room import require_free

_SPLIT = re.compile(r"(?:^|[-_./])(train|test|validation|valid|val|dev)(?:[-_.\d]|$)")
_PLAIN_FOLDERS = ("data", "default", "train", "test", "validation", "")  # name no subset


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file of a data set."""

    name: str
    size_bytes: int
    sha256: str | None = None  # as the hub says; None: it says the git hash, or the file is on this disk
    git_sha1: str | None = None
    subset: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repo:
    """A data set's files, as far as they are known."""

    written: str
    repo: str
    files: tuple[File, ...]
    card: str = ""
    commit: str | None = None  # None: it is a folder
    folder: Path | None = None


def local_repo(written: str, folder: Path) -> Repo:
    """List a folder. Raises BadInput if it is not there."""
    if not folder.is_dir():
        raise BadInput(f"{written}: no folder {folder} (relative paths start at the manifest's folder)")
    files = tuple(
        File(name=path.relative_to(folder).as_posix(), size_bytes=path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    return Repo(written=written, repo=str(folder), files=files, card=text, folder=folder)


def hub_repo(hub: HubRows, home: Path, work: Path, pins: Path, patience: Patience) -> Repo:
    """List a hub's data set at one commit; the first listing of a branch pins it in the file `pins`.

    Raises BadInput in one line where a person must act; ConnectionError where the hub gave up on us.
    """
    if hub.is_local:
        return local_repo(hub.written(), (home / hub.repo).resolve())
    pinned: dict[str, str] = json.loads(pins.read_text()) if pins.is_file() else {}
    key = f"{hub.repo}@{hub.revision or 'main'}"
    told = _ask(hub, work, patience, {"revision": pinned.get(key, hub.revision)})
    if "folder" in told:
        return local_repo(hub.written(), Path(told["folder"]))
    if pinned.get(key) != told["commit"]:
        write_aside(pins, json.dumps(pinned | {key: told["commit"]}, indent=1))
    files = tuple(File(**file) for file in sorted(told["files"], key=lambda file: file["name"]))
    return Repo(written=hub.written(), repo=hub.repo, files=files, card=told["card"], commit=told["commit"])


def chosen(repo: Repo, hub: HubRows) -> list[File]:
    """Choose the files of rows that are asked for, each with its subset. Raises BadInput if there are none."""
    rows = _rows_of_one_kind([file for file in repo.files if not hub.files or _fits(file.name, hub.files)])
    configs = _configs(repo)
    placed = [file for one in rows for file in _placed(one, configs, hub.split)]
    patterns = hub.subsets or ((hub.config,) if hub.config else ())
    if not placed:
        raise BadInput(
            f"{repo.written}: no file of rows for split {hub.split!r} among {len(repo.files)} files; correct split or files"
        )
    names = sorted({file.subset for file in placed})
    for pattern in patterns:
        if not any(matches(name or "default", [pattern]) for name in names):
            known = ", ".join(name or "default" for name in names[:12]) + (", ..." if len(names) > 12 else "")
            raise BadInput(f"{repo.written}: no subset {pattern!r}{nearest(pattern, names)}. It has: {known}")
    return [file for file in placed if not patterns or matches(file.subset or "default", patterns)]


def fetched(repo: Repo, hub: HubRows, file: File, work: Path, patience: Patience) -> Path:
    """Give one file on this disk: the folder's own, or fetched and checked. Raises as `hub_repo` does."""
    if repo.folder is not None:
        return repo.folder / file.name
    into = work / "fetched"
    require_free(work, file.size_bytes, file.name)
    path = Path(_ask(hub, work, patience, {"revision": repo.commit, "name": file.name, "into": str(into)})["path"])
    expected, found = (file.sha256, file_sha256(path)) if file.sha256 else (file.git_sha1, _git_sha1(path))
    if expected is not None and found != expected:
        path.unlink()
        raise BadInput(
            f"{repo.written}: {file.name}: wrong checksum: the hub says {expected}, found {found}; run again to fetch it anew"
        )
    return path


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A part of a Parquet file that is wanted here: all rows without pictures, those of a few row groups, or row groups whole."""

    name: str
    into: Path
    groups: tuple[int, ...] | None = None
    few: Few | None = None


def fetch_parts(repo: Repo, hub: HubRows, wanted: Sequence[Wanted], work: Path, patience: Patience) -> None:
    """Bring parts of files, each to its place, by ranges: of a hub's files nothing else is fetched. Raises as `hub_repo` does.

    A file of which a part is read is never here whole, so the hub's sum of it cannot be checked: the commit names it.
    """
    if repo.folder is not None:
        for part in wanted:
            write_part(repo.folder / part.name, part.into, part.groups, part.few)
        return
    parts = [
        {"name": part.name, "into": str(part.into), "groups": part.groups, "few": part.few and asdict(part.few)}
        for part in wanted
    ]
    _ask(hub, work, patience, {"revision": repo.commit, "parts": parts})


def forget_fetched(repo: Repo, work: Path) -> None:
    """Delete what was fetched of a hub's files; a folder's own stay."""
    if repo.folder is None:
        shutil.rmtree(work / "fetched", ignore_errors=True)


def _rows_of_one_kind(files: Sequence[File]) -> list[File]:
    """Take the Parquet files; where there are none, the tars, else the tables, else the JSON files."""
    for endings in (PARQUET, TARS, TABLES, JSONS):
        found = [file for file in files if file.name.lower().endswith(endings)]
        if found:
            return found
    return []


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)


def _placed(file: File, configs: list[tuple[str, str, str]], split: str) -> list[File]:
    """Give the file once for each subset that has it in the asked split: as the card says, else by its folder and name."""
    if configs:
        names = dict.fromkeys(name for name, of, pattern in configs if of == split and _fits(file.name, [pattern]))
        return [_of(file, "" if name == "default" else name) for name in names]
    found = _SPLIT.search(PurePosixPath(file.name).name)
    of = {"valid": "validation", "val": "validation", "dev": "validation"}.get(found[1], found[1]) if found else "train"
    folder = PurePosixPath(file.name).parts[0] if "/" in file.name else ""
    return [_of(file, "" if folder in _PLAIN_FOLDERS else folder)] if of == split else []


def _of(file: File, subset: str) -> File:
    return File(name=file.name, size_bytes=file.size_bytes, sha256=file.sha256, git_sha1=file.git_sha1, subset=subset)


def _configs(repo: Repo) -> list[tuple[str, str, str]]:
    """Read the subsets that a card declares -> (name, split, pattern) each; none where it declares none."""
    found = re.match(r"\s*---\s*\n(.*?)\n---", repo.card, re.DOTALL)
    try:
        told = parse_yaml(found[1]) if found else None
    except ValueError as error:
        raise BadInput(f"{repo.written}: README.md: its head is not YAML: {error!s:.120}") from None
    rows = list[tuple[str, str, str]]()
    for config in (told.get("configs") or ()) if isinstance(told, dict) else ():
        files = config.get("data_files") if isinstance(config, dict) else None
        for entry in files if isinstance(files, list) else [files]:
            split, path = ("train", entry) if not isinstance(entry, dict) else (entry.get("split"), entry.get("path"))
            rows += [
                (str(config["config_name"]), str(split), one)
                for one in (path if isinstance(path, list) else [path])
                if isinstance(one, str)
            ]
    return rows


def _ask(hub: HubRows, work: Path, patience: Patience, what: dict[str, Any]) -> dict[str, Any]:
    """Ask the hub in a process of its own, again where that may help."""
    work.mkdir(parents=True, exist_ok=True)
    arguments, result, log = (work / f"hub-{name}" for name in ("asked.json", "told.json", "log.txt"))
    asked = {"repo": hub.repo, "written": hub.written(), "result": str(result), "into": str(work / "fetched")} | what
    write_aside(arguments, json.dumps(asked))
    for attempt in range(1, patience.attempts + 1):
        result.unlink(missing_ok=True)
        log.unlink(missing_ok=True)
        code = run_watched(
            [sys.executable, "-P", "-m", "tinyllava_core.data.download.embedded.hub_files_process", str(arguments)],
            environment={
                "PYTHONPATH": without_back_port(os.environ.get("PYTHONPATH", "")),
                "HF_HUB_DISABLE_TELEMETRY": "1",
                "PYTHONUNBUFFERED": "1",
            },
            log=log,
            progress=lambda: _grown(work / "fetched"),
            stall_s=patience.stall_s,
        )
        said = log.read_text(errors="replace").splitlines()
        if code == 0 and result.is_file():
            answer: dict[str, Any] = json.loads(result.read_text())
            return answer
        if code == 2 and (errors := [line for line in said if line.startswith("error: ")]):
            raise BadInput(errors[-1].removeprefix("error: "))
        if code != TROUBLE:
            raise RuntimeError(f"{hub.written()}: its process ended with exit code {code}: {' | '.join(said[-3:])}")
        if attempt < patience.attempts:
            time.sleep(patience.wait_s(attempt))
    raise ConnectionError(f"{hub.written()}: gave up after {patience.attempts} attempts: {' | '.join(said[-1:])}")


def _grown(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0


def _git_sha1(path: Path) -> str:
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
