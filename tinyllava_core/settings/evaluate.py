"""Section `evaluate` of a recipe: the benchmarks, and how the model answers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tinyllava_core.frozen import Frozen


class Evaluate(Frozen):
    """Which benchmarks score the trained model, and how it answers."""

    benchmarks: tuple[str, ...] = Field(
        (), description="Names in data_manifests/ (kind: benchmark), or paths to manifests."
    )
    blind: bool = Field(
        True, description="Also score with every image blanked: what can be guessed from the text alone."
    )
    batch_size: int = Field(16, ge=1, description="Questions answered together. Answers do not depend on it in fp32.")
    precision: Literal["fp32", "bf16"] = Field("bf16", description="Arithmetic of the forward pass.")
