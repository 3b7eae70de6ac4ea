"""Tars with equal bytes are on the disk once: a mix that is made again, or a part of one, costs no room. It writes no tar."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pyarrow.parquet as pq

from tinyllava_core.artifact import aside_of


def link_equal_tars(out: Path) -> int:
    """Let each tar of a finished folder be the same file as an equal one in a folder beside it -> how many were linked.

    Equal by the sha256 in shards.parquet. Tars in a store are named by it, so they are there once already.
    """
    known: dict[str, Path] = {}
    for table in sorted(out.parent.glob("[0-9a-f]*/shards.parquet")):
        known |= {sha256: tar for sha256, tar in _tars(table.parent).items() if table.parent != out}
    linked = 0
    for sha256, tar in _tars(out).items():
        other = known.get(sha256)
        if other is None or other.samefile(tar):
            continue
        aside = aside_of(tar)
        with contextlib.suppress(OSError):  # a file system without hard links keeps two
            aside.hardlink_to(other)
            aside.replace(tar)
            linked += 1
    return linked


def _tars(folder: Path) -> dict[str, Path]:
    rows = pq.read_table(folder / "shards.parquet", columns=["name", "sha256"]).to_pylist()
    return {row["sha256"]: folder / row["name"] for row in rows if (folder / row["name"]).is_file()}
