"""An artifact is a folder named by what went into it. This file names it, makes it once, and reads it back.

`<workspace>/artifacts/<stage>/<fingerprint>/` is built in a sibling `.<fingerprint>.partial`, its `result.json` is
written last, then one rename. It knows nothing of Prefect, of the lineage store or of what a stage does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from filelock import FileLock
from pydantic import BaseModel

from tinyllava_core.durable import publish
from tinyllava_core.errors import BadInput, is_no_text
from tinyllava_core.intact import check, hashes, opened, sealed
from tinyllava_core.intact import file_sha256 as file_sha256
from tinyllava_core.room import there, told

R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A finished folder: what stage made it, from what, with which result."""

    stage: str
    fingerprint: str
    folder: Path
    made: bool = True  # False: it was there already

    def manifest(self) -> dict[str, Any]:
        """Read `result.json`: stage, version, fingerprint, spec, inputs, result, made_at, seconds, size_bytes, files. Raises BadInput if it was changed."""
        return opened(self.folder / "result.json")

    def inputs_from(self, stage: str, workspace: Path) -> dict[str, Artifact]:
        """Find those of its inputs that a stage made, by what they are to it."""
        home = workspace / "artifacts" / stage
        return {
            name: Artifact(stage=stage, fingerprint=of, folder=home / of, made=False)
            for name, of in self.manifest()["inputs"].items()
            if (home / of / "result.json").is_file()
        }

    def input_from(self, stage: str, workspace: Path) -> Artifact:
        """Find the input that a stage of that name made. Raises BadInput if it is gone."""
        found = self.inputs_from(stage, workspace).get(stage)
        if found is None:
            raise BadInput(
                f"{self.stage} {self.fingerprint}: the {stage} that it was made of is gone from {workspace}; "
                "run its recipe again, which makes it anew"
            )
        return found

    def result(self, kind: type[R]) -> R:
        """Give the stage's result as the dataclass that it returned."""
        fields = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
        return kind(**{key: value for key, value in self.manifest()["result"].items() if key in fields})


_WRITTEN = ("artifacts", "artifacts/*/", "lineage", "lineage/fragments", "lineage/fragments/*/")  # of a workspace


def check_workspace(workspace: Path) -> None:
    """Raise BadInput unless `workspace` can be made, or it and what is in it written in, and its path is one that every library takes."""
    place = workspace.expanduser().resolve()
    if is_no_text(str(place)):
        raise BadInput(
            f"workspace {str(workspace)!r}: this locale cannot read its path; set LC_ALL=C.UTF-8, or name another with --workspace"
        )
    if set("?\\") & set(str(place)) or not str(place).isprintable():
        raise BadInput(
            f"workspace {str(workspace)!r}: its whole path, {str(place)!r}, has a question mark, a backslash or a control character "
            "in it, with which DuckDB writes and looks elsewhere; name another with --workspace"
        )
    above = there(place)
    if not above.is_dir():
        raise BadInput(f"workspace {str(workspace)!r}: {above} is a file; name a folder with --workspace")
    inside = [folder for pattern in _WRITTEN for folder in place.glob(pattern)]
    for folder in (above, *inside):
        if not folder.is_dir():
            raise BadInput(f"workspace {str(workspace)!r}: {folder} is a file where a folder belongs; take it away")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise BadInput(
                f"workspace {str(workspace)!r}: {folder} may not be written in; name another with --workspace"
            )


def make_once(
    workspace: Path,
    stage: str,
    version: int,
    spec: BaseModel | Mapping[str, Any],
    inputs: Mapping[str, Artifact],
    make: Callable[[Path], Any],
    *,
    resumable: bool = False,
) -> Artifact:
    """Give the artifact of (stage, version, spec, inputs): found, or made by `make(folder)`, which returns a result dataclass.

    Two callers that want the same artifact at once: one makes it, the other waits. `resumable`: a partial folder that a
    killed maker left is handed to `make` as it is; otherwise it is emptied first. Raises DiskFull where there is no room for it;
    of what was half written nothing stays but the finished parts of what is resumable; BadInput if an input is no longer what its
    stage left.
    """
    plain = canonical(spec)
    name = fingerprint(stage, version, plain, inputs)
    home = workspace / "artifacts" / stage
    home.mkdir(parents=True, exist_ok=True)
    final, partial = home / name, home / f".{name}.partial"
    with (
        told(f"{stage} {name}", partial, lambda: _clear(partial, resumable)),
        FileLock(home / f".{name}.lock"),
    ):
        if (final / "result.json").is_file():
            return Artifact(stage=stage, fingerprint=name, folder=final, made=False)
        if partial.exists() and not resumable:
            shutil.rmtree(partial)
        for artifact in inputs.values():
            check(artifact.folder)
        partial.mkdir(exist_ok=True)
        started = time.monotonic()
        result = make(partial)
        body = {
            "stage": stage,
            "version": version,
            "fingerprint": name,
            "spec": plain,
            "inputs": {key: artifact.fingerprint for key, artifact in inputs.items()},
            "result": dataclasses.asdict(result),
            "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - started, 3),
            "size_bytes": sum(file.lstat().st_size for file in partial.rglob("*") if file.is_file()),
            "files": hashes(partial),
        }
        write_aside(partial / "result.json", json.dumps(sealed(body), indent=1, ensure_ascii=False))
        if final.exists():  # a folder without result.json: somebody's remains
            shutil.rmtree(final)
        publish(partial, final)
    return Artifact(stage=stage, fingerprint=name, folder=final)


def _clear(partial: Path, resumable: bool) -> None:
    """Take away what nobody goes on from: all of it, or the files in it that were being written."""
    if not resumable:
        shutil.rmtree(partial, ignore_errors=True)
        return
    for left in partial.rglob(".*.partial"):
        shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
    for folder in sorted((path for path in partial.rglob("*") if path.is_dir()), reverse=True):  # the inner ones first
        if not any(folder.iterdir()):
            folder.rmdir()


def find_made(
    workspace: Path, stage: str, version: int, spec: BaseModel | Mapping[str, Any], inputs: Mapping[str, Artifact]
) -> Artifact | None:
    """Give the artifact of (stage, version, spec, inputs) if it is there. It makes nothing, not even a folder."""
    name = fingerprint(stage, version, spec, inputs)
    folder = workspace / "artifacts" / stage / name
    is_made = (folder / "result.json").is_file()
    return Artifact(stage=stage, fingerprint=name, folder=folder, made=False) if is_made else None


@contextlib.contextmanager
def unfinished(workspace: Path, stage: str, names: Sequence[str]) -> Iterator[dict[str, Path]]:
    """Hold those of the artifacts `names` (fingerprints) that are not finished, for as long as the block lasts -> their partial folders.

    For work that is cheaper done for several at once: what the block leaves in a folder, `make_once(..., resumable=True)`
    finds there. Nobody else makes one of them meanwhile.
    """
    home = workspace / "artifacts" / stage
    home.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as locks:
        held = {}
        for name in sorted(set(names)):  # always in this order: two callers never wait for each other
            if (home / name / "result.json").is_file():
                continue
            lock = locks.enter_context(contextlib.ExitStack())
            lock.enter_context(FileLock(home / f".{name}.lock"))
            if (home / name / "result.json").is_file():  # made while we waited
                lock.close()
                continue
            held[name] = home / f".{name}.partial"
            held[name].mkdir(exist_ok=True)
        yield held


def fingerprint(stage: str, version: int, spec: Any, inputs: Mapping[str, Artifact]) -> str:
    """Hash (stage, version, spec, the inputs' fingerprints) -> 16 hex digits."""
    named = {key: artifact.fingerprint for key, artifact in inputs.items()}
    text = json.dumps(
        [stage, version, canonical(spec), named], sort_keys=True, separators=(",", ":"), ensure_ascii=True
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def canonical(spec: Any) -> Any:
    """Turn a spec into plain JSON values."""
    if isinstance(spec, BaseModel):
        return spec.model_dump(mode="json")
    return json.loads(
        json.dumps(
            spec, default=lambda value: value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)
        )
    )


def write_aside(path: Path, text: str) -> None:
    """Write a whole file under another name, then rename it: a reader sees the old or the new one, never half."""
    aside = path.with_name(f".{path.name}.partial")
    try:
        with open(aside, "w", encoding="utf-8", opener=_no_link) as file:
            file.write(text)
        publish(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def _no_link(path: str, flags: int) -> int:
    """Open what is no link: whoever may write in the folder could have planted one, whose target would be written over."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def aside_of(path: Path) -> Path:
    """Name a file beside `path` to write what is then renamed to it, another at each call: on several machines a part whose
    worker seemed lost may be done twice at once."""
    return path.with_name(f".{path.name}.{uuid4().hex[:12]}.partial")
