"""What tells the numbers of a part: its row, and its own configuration where that is on this disk. It fetches nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from tinyllava_core.parts.architecture import VISION_CONFIGS
from tinyllava_core.parts.language import language_row
from tinyllava_core.parts.vision import VISIONS

Kind = Literal["vision", "language"]


def described(kind: Kind, name: str) -> list[tuple[dict[str, Any] | None, Path | None]]:
    """Give what tells a part's numbers: its row here and its own config.json, where there is one; of a mixture, for each member."""
    if kind == "language":
        row = language_row(name)
        return [(row.config, _own_config(row.weights, row.revision))]
    members = {member: VISIONS[member] for member in VISIONS[name].mixture or (name,)}
    return [
        (VISION_CONFIGS.get(key.partition("=")[0]), _own_config(row.weights, row.revision))
        for key, row in members.items()
    ]


def _own_config(weights: str, revision: str | None) -> Path | None:
    """Find a model's own config.json on this disk: in its folder, or in the hub's cache. Nothing is fetched."""
    if Path(weights).is_dir():
        file = Path(weights) / "config.json"
        return file if weights and file.is_file() else None
    hub = os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME", "~/.cache/huggingface"), "hub")
    if not (Path(hub).expanduser() / f"models--{weights.replace('/', '--')}").is_dir():
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(weights, "config.json", revision=revision)
    return Path(found) if isinstance(found, str) else None
