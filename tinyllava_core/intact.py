"""Is an artifact still what its stage left? Hashes of its files stand in its result.json; whoever makes something of it looks first.

Not hashed as files: pictures and tars, which are held against their own hashes one by one as they are read (data/shard), and kept
features, which are as large as a disk.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tinyllava_core.errors import BadInput

_ELSEWHERE = ("*.tar", "features.bin", "images/**/*", "result.json")
_SAYS = {"spec": dict, "inputs": dict, "result": dict, "made_at": str}
_checked: dict[Path, tuple[int, int]] = {}  # file -> size and time when this process found it intact


def hashes(folder: Path, *but: str) -> dict[str, str]:
    """Hash the files of a folder, but for some patterns -> sha256 by their path in it."""
    left_out = {file for pattern in (*_ELSEWHERE, *but) for file in folder.glob(pattern)}
    files = sorted(file for file in folder.rglob("*") if file not in left_out and file.is_file())
    return {file.relative_to(folder).as_posix(): file_sha256(file) for file in files}


def sealed(told: Mapping[str, Any]) -> dict[str, Any]:
    """Add to what a result.json says a hash of it."""
    return {**told, "sha256": _sum(told)}


def opened(file: Path) -> dict[str, Any]:
    """Read a result.json. Raises BadInput if it is not what was written; one of before there were hashes is taken as it is."""
    try:
        told: dict[str, Any] = json.loads(file.read_bytes())
        seal = told.pop("sha256", None)
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise _changed(file, f"no JSON object ({error})") from None
    if (seal is None and "files" in told) or (seal is not None and seal != _sum(told)):
        raise _changed(file, "its hash is another than it says")
    return told


def finished(stage: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Give the folder of each finished artifact of a stage with its result.json; one that was changed is told on stderr and passed over.

    `stage`: <workspace>/artifacts/<stage>. For whoever looks for one among them: a broken one costs itself, not the others.
    """
    for file in sorted(stage.glob("[0-9a-f]*/result.json")):
        try:
            told = {"spec": {}, "inputs": {}} | opened(file)
            if not all(isinstance(told.get(key), kind) for key, kind in _SAYS.items()):
                raise _changed(file, f"it has no {', '.join(_SAYS)}")
        except BadInput as error:
            print(f"passed over: {error}", file=sys.stderr)
        else:
            yield file.parent, told


def check(folder: Path) -> None:
    """Raise BadInput unless every hashed file of an artifact is what its stage left; one that was looked at before is not read again."""
    told = opened(folder / "result.json")
    if told.get("fingerprint", folder.name) != folder.name:
        raise _changed(folder / "result.json", f"it is of artifact {told['fingerprint']}: the folder was renamed")
    for name, sha256 in told.get("files", {}).items():
        file = folder / name
        if not file.is_file():
            raise _changed(file, "it is gone")
        stat = file.stat()
        seen = (stat.st_size, stat.st_mtime_ns)
        if _checked.get(file) != seen:
            if file_sha256(file) != sha256:
                raise _changed(file, f"its sha256 is no longer {sha256[:16]}...")
            _checked[file] = seen


def file_sha256(path: Path) -> str:
    """Hash a file's bytes -> 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sum(told: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _changed(file: Path, how: str) -> BadInput:
    folder = next((parent for parent in file.parents if (parent / "result.json").exists()), file.parent)
    return BadInput(
        f"{file}: is not what its stage left ({how}): the disk or somebody changed it; delete {folder} and give the same command "
        "again: it is made anew"
    )
