"""What a workspace weighs, and what of it no kept run needs. Nothing is removed unless it is asked for."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from tinyllava_core.errors import BadInput
from tinyllava_core.intact import opened
from tinyllava_core.lineage.fragments import fragments
from tinyllava_core.lineage.running import at_work

BESIDE = {"cache": "cache", "prefect": ".prefect", "lineage": "lineage", "studies": "studies"}  # what -> its folder

_REMOVED = ".removed"  # of what is being removed


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """An artifact, what a dead run left of one, or another folder of the workspace."""

    what: str  # the stage of an artifact; or unfinished, cache, prefect, lineage, studies
    path: Path
    size_bytes: int  # of what is nowhere else: tars with equal bytes count once
    needed: bool


def weigh(workspace: Path, keep: int | None = None) -> list[Thing]:
    """Weigh everything in a workspace. `keep`: only the newest so many runs are kept; None: all of them.

    Needed is what a kept run has, with all that went into it; everything, where no run is known (a lineage that was lost or not
    copied along). What a killed training left is needed as long as any run is: the same command goes on from it.
    Raises BadInput if a run's rows cannot be read.
    """
    found, seen = [], set[tuple[int, int]]()
    needed = _needed(workspace, keep)
    for folder in sorted((workspace / "artifacts").glob("*/*")):
        if not folder.is_dir():
            continue
        done = (folder / "result.json").is_file()
        if folder.name.endswith(_REMOVED):  # a killed `remove` was at it
            stays = False
        elif done:
            stays = needed is None or (folder.parent.name, folder.name) in needed
        else:
            stays = keep is None or not _is_free(folder)
        what = folder.parent.name if done else "unfinished"
        found.append(Thing(what=what, path=folder, size_bytes=_size(folder, seen), needed=stays))
    beside = [*BESIDE.items(), ("cache", _aside(workspace / "cache").name)]  # the last of a killed `remove`
    for what, place in ((what, workspace / name) for what, name in beside):
        if place.is_dir():
            found.append(Thing(what=what, path=place, size_bytes=_size(place, seen), needed=what != "cache"))
    return found


def remove(workspace: Path, things: Iterable[Thing]) -> list[str]:
    """Remove things that nothing needs -> what stays of them, and why. Raises BadInput while a run is at work: it may be about to take one.

    Where the cache is a link to another disk, what is behind it goes and the link stays: a person put it there for the next cache.
    Of an artifact that is a link only the link goes: what it names may be another workspace's.
    """
    if busy := at_work(workspace):
        raise BadInput(
            f"{', '.join(busy)} is at work in {workspace}: wait for its end, or end it, before removing things"
        )
    stays = []
    for thing in things:
        assert not thing.needed, thing
        if thing.path.is_symlink():
            stays.append(_let_go(thing))
            continue
        aside = _aside(thing.path)  # gone at once, whatever happens to the rest
        if aside != thing.path:
            thing.path.rename(aside)
        shutil.rmtree(aside)
    return stays


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name.strip('.').removesuffix(_REMOVED)}{_REMOVED}")


def _let_go(thing: Thing) -> str:
    """Remove a thing that is a link -> what stays of it."""
    target = thing.path.resolve()
    if thing.what == "cache":
        for path in target.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        if thing.path.name == "cache":
            return f"{thing.path}: is a link: {target} was emptied, and the link stays"
    thing.path.unlink()
    return f"{thing.path}: was a link: {target} stays; remove it if nothing else uses it"


def _needed(workspace: Path, keep: int | None) -> set[tuple[str, str]] | None:
    """Name the artifacts (stage, fingerprint) that the kept runs have, with all that went into them; None: no run is known."""
    rows = sorted(_rows(workspace), key=lambda row: row[0])
    if not rows:
        return None
    newest = list(dict.fromkeys(run for _, run, _, _ in reversed(rows)))[:keep]
    open_ends = [(stage, fingerprint) for _, run, stage, fingerprint in rows if run in newest]
    stages = {path.parent.name: path.parents[1].name for path in workspace.glob("artifacts/*/[0-9a-f]*/result.json")}
    found: set[tuple[str, str]] = set()
    while open_ends:
        stage, fingerprint = one = open_ends.pop()
        told = workspace / "artifacts" / stage / fingerprint / "result.json"
        if one in found or not told.is_file():
            continue
        found.add(one)
        inputs = opened(told).get("inputs", {}).values()
        open_ends += [(stages[of], of) for of in inputs if of in stages]
    return found


def _rows(workspace: Path) -> Iterator[tuple[str, str, str, str]]:
    """Give (when, run, stage, fingerprint) of every stage that a run had."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in (fragments(workspace) / "stage").glob("*.parquet"):
        try:
            rows = pq.ParquetFile(path).read(columns=["started_at", "run_id", "stage", "fingerprint"]).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise BadInput(
                f"{path}: cannot be read ({' '.join(str(error).split()):.100}), so nobody knows what its run needs; take it away, "
                "and the next run of that recipe writes it again"
            ) from None
        for row in rows:
            yield str(row["started_at"]), row["run_id"], row["stage"], row["fingerprint"]


def _is_free(partial: Path) -> bool:
    """Tell whether nobody makes this artifact now."""
    try:
        with FileLock(partial.with_name(partial.name.removesuffix(".partial") + ".lock"), timeout=0):
            return True
    except Timeout:
        return False


def _size(folder: Path, seen: set[tuple[int, int]]) -> int:
    """Add up the bytes of the files that were not seen before under another name."""
    total = 0
    for file in folder.rglob("*"):
        stat = file.lstat()
        if file.is_file() and not file.is_symlink() and (stat.st_dev, stat.st_ino) not in seen:
            seen.add((stat.st_dev, stat.st_ino))
            total += stat.st_size
    return total
