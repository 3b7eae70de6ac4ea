"""What decides a mix besides the records of its sources: the same for whoever makes one, and for whoever looks for one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tinyllava_core.artifact import file_sha256
from tinyllava_core.settings.mix import MixEntry


def mix_spec(entries: Iterable[tuple[MixEntry, str]], seed: int) -> dict[str, Any]:
    """Give the spec of (entry, its manifest's name) pairs: sources by their names, tables of scores by their bytes."""
    return {"entries": [_entry_spec(entry, name) for entry, name in entries], "seed": seed}


def _entry_spec(entry: MixEntry, name: str) -> dict[str, Any]:
    scores = file_sha256(Path(entry.scores).expanduser()) if entry.scores is not None else None
    return {**entry.model_dump(), "source": name, "scores": scores}
