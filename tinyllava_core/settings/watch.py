"""Section `watch` of a recipe: what a training writes about itself, and when it is stopped for its own good."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field, field_validator

from tinyllava_core.frozen import Frozen
from tinyllava_core.secret import without_secrets

OWN = frozenset(
    {"artifacts", "cache", "judged", "lineage", "studies"}
)  # folders of a workspace that are made by others


class Watch(Frozen):
    """What a training writes about itself, besides metrics.jsonl and TensorBoard files, which it always writes."""

    loggers: tuple[Literal["wandb", "trackio"], ...] = Field(
        (),
        description="Further places for metrics and scores. wandb: Weights & Biases (WANDB_MODE=offline works without a network). "
        "trackio: the same on this machine's disk.",
    )
    step_timeout_s: int | None = Field(
        1800,
        ge=1,
        description="End the job, naming the step and its records, when a step takes so many seconds. null: wait.",
    )
    spike_deviations: float | None = Field(
        6.0,
        gt=0,
        description="Name a step's records when its loss is so many standard deviations above the mean of the last 100. null: off.",
    )
    stop_on_spike: bool = Field(False, description="Stop at such a step instead of only naming its records.")
    openlineage: str | None = Field(
        None,
        description="Where OpenLineage events of the run and its stages go: the http(s) address of a server, or a file of the "
        "workspace, .json, .jsonl or .ndjson, a line for each. OPENLINEAGE_API_KEY, in the environment, is the server's key. null: nowhere.",
    )

    @field_validator("openlineage")
    @classmethod
    def _a_place_without_secrets(cls, where: str | None) -> str | None:
        if where is not None and without_secrets(where) != where:
            raise ValueError("without its key: recipes are kept and shown; put that into OPENLINEAGE_API_KEY")
        if where is not None and not re.fullmatch(r"https?://[^/?#\s]+\S*", where) and not _is_a_file_of_events(where):
            raise ValueError(
                "expected the http(s) address of a server, or the path of a file in the workspace, from there: events.jsonl (or .json, "
                f".ndjson), in none of its own folders ({', '.join(sorted(OWN))}, hidden ones)"
            )
        return where


def _is_a_file_of_events(where: str) -> bool:
    """Tell whether it is a path inside a workspace, outside what others write there: a stranger's recipe shall append to nothing else."""
    path = PurePosixPath(where)
    inside = not path.is_absolute() and "://" not in where and not where.startswith("~") and where.isprintable()
    hidden = any(part.startswith(".") for part in path.parts)
    own = not path.parts or path.parts[0].lower() in OWN
    return inside and not hidden and not own and where.endswith((".json", ".jsonl", ".ndjson"))
