"""How big the parts of a model are: counted once on tensors without weights, then kept in the user's cache.

The counting needs torch, so a process of its own does it (model/table.py); nothing here imports it, and nothing is remembered
that was not counted. A size is kept under what it was counted from, so no change can leave an old one behind.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tinyllava_core.artifact import aside_of
from tinyllava_core.errors import BadInput
from tinyllava_core.parts import LANGUAGES, VISIONS, language_row
from tinyllava_core.parts.described import Kind, described
from tinyllava_core.settings.model import Model

Part = tuple[Kind, str]
COUNTER = "tinyllava_core.model.table"
_VERSION = 2  # of what is counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """The numbers of one encoder or language model."""

    total: int  # parameters
    blocks: tuple[int, ...]  # of each block
    linear: tuple[int, ...]  # inputs and outputs of each block's linear layers, summed: what an adapter of rank 1 has
    last_mlp: int  # parameters of a language model's last MLP, which runs at supervised places alone: model/loss.py
    behind: int  # of those outside the blocks, how many no hidden state depends on
    attention_width: int  # heads x width of a head
    vocabulary: int  # rows of the embedding; 0 for an encoder
    checked: bool  # against the model's own config.json; False: counted from its row in parts/ alone


def sizes(model: Model) -> tuple[Size, Size]:
    """Give the sizes of a model's encoder and language model; what no run has counted before is counted now, which stderr says.

    Raises BadInput if a part's own configuration cannot be counted, or is not what its row says.
    """
    asked: list[Part] = [("vision", model.vision), ("language", model.language)]
    found = {part: size for part in asked if (size := _kept(_file(part))) is not None}
    if len(found) < len(asked):
        found = _count(asked)
    vision, language = (found[part] for part in asked)
    return vision, language


def unchecked(model: Model) -> list[str]:
    """Name the parts whose own configuration is not at hand, so that only their row was counted."""
    names = (model.vision, model.language)
    return [name for name, size in zip(names, sizes(model), strict=True) if not size.checked]


def cache_folder() -> Path:
    """Give the folder in which counted sizes are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("TINYLLAVA_CACHE") or Path(home, "tinyllava")) / "sizes"


def average(values: Sequence[int]) -> float:
    """Give the mean over a part's blocks, which in most models are all alike."""
    return sum(values) / len(values)


def _file(part: Part) -> Path:
    """Name a part's file by a hash of all that its size is counted from: row, own configuration if at hand, transformers' version."""
    kind, name = part
    counted = {
        "kind": kind,
        "from": [(row, own and own.read_text(encoding="utf-8")) for row, own in described(kind, name)],
        "num_tokens": language_row(name).num_tokens if kind == "language" else None,
        "versions": (_VERSION, version("transformers")),
    }
    digest = hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()
    return cache_folder() / f"{digest[:16]}.json"


def _count(asked: Sequence[Part]) -> dict[Part, Size]:
    """Have these parts counted, and with them every row that is not kept: to start the counter takes longer than to count."""
    rows: list[Part] = [*asked, *(("vision", name) for name in VISIONS), *(("language", name) for name in LANGUAGES)]
    parts = [part for part in dict.fromkeys(rows) if part in asked or _kept(_file(part)) is None]
    print(
        "counting the parameters of encoders and language models: once, some ten seconds", file=sys.stderr, flush=True
    )
    words = [f"{kind}={name}" for kind, name in parts]
    ran = subprocess.run([sys.executable, "-m", COUNTER, *words], capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise RuntimeError(f"{COUNTER} ended with {ran.returncode}: {ran.stderr.strip()[-2000:]}")
    found: dict[Part, Size] = {}
    for part, told in zip(parts, json.loads(ran.stdout), strict=True):
        if "fault" not in told:
            found[part] = _size(told)
            _keep(_file(part), told)
        elif part in asked:
            raise BadInput(told["fault"])
    return found


def _kept(file: Path) -> Size | None:
    try:
        return _size(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError):  # not there, or spoilt: counted again
        return None


def _keep(file: Path, size: Mapping[str, Any]) -> None:
    """Write aside, then rename: two that count at once do each other no harm."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        aside = aside_of(file)
        aside.write_text(json.dumps(size), encoding="utf-8")
        aside.replace(file)
    except OSError:
        pass  # a home that cannot be written: what is counted is counted each time, and each time stderr says so


def _size(read: dict[str, Any]) -> Size:
    return Size(**(read | {"blocks": tuple(read["blocks"]), "linear": tuple(read["linear"])}))
