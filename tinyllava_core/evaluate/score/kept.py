"""A judge's replies on the disk, a line each: kept as they come, by any number of processes at once. What was asked it does not know."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyllava_core.errors import BadInput
from tinyllava_core.room import told


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the judge said."""

    text: str
    model: str  # as the endpoint names it


def read(path: Path) -> tuple[dict[str, Reply], int]:
    """Read the replies that are there, by their requests' hashes -> them, and how many lines were cut off or mixed up and cost themselves.

    Raises BadInput if the file cannot be read, or a line is JSON and no kept reply: then it is another file.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}, 0
    except OSError as error:
        raise BadInput(
            f"{path}: cannot be read ({error.strerror}); replies are kept there, so make it a file"
        ) from None
    replies, lost = {}, 0
    for number, line in enumerate(
        content.split(b"\n")[:-1], start=1
    ):  # behind the last \n: somebody is just writing it
        try:
            row = json.loads(line.decode())
        except (ValueError, RecursionError):
            lost += 1
            continue
        match row:
            case {"request_sha256": str(name), "text": str(text), "model": str(model)}:
                replies[name] = Reply(text=text, model=model)
            case _:
                raise BadInput(f"{path}, line {number}: not a kept reply; remove the file to ask anew")
    return replies, lost


def keep(path: Path, row: dict[str, Any]) -> None:
    """Add a line, whole or not at all where another process writes too; half a line that a kill or a full disk left stays alone.

    Raises DiskFull where there is no room: the replies before it are kept.
    """
    line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = os.fstat(file).st_size
        if size and os.pread(file, 1, size - 1) != b"\n":
            line = b"\n" + line
        with told(f"replies in {path.name}", path.parent):
            while line:
                line = line[os.write(file, line) :]
    finally:
        os.close(file)
