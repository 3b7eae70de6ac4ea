"""Section `evaluate` of a recipe: the benchmarks, and how the model answers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from tinyllava_core.errors import unknown
from tinyllava_core.frozen import Frozen
from tinyllava_core.settings.condition import BLIND, SEEN, check_robustness

SUITES: dict[str, tuple[str, ...]] = {
    "suite-llava-1.5": (
        *(
            "vqav2-test-dev",
            "gqa-testdev",
            "vizwiz-val",
            "scienceqa",
            "textvqa-val-ocr",
            "pope",
            "mme",
            "mmbench-en-dev",
        ),
        *("seedbench-images", "llava-bench-in-the-wild", "mm-vet"),
    ),  # Source: LLaVA-1.5's table 3, whose VizWiz is the hidden test split and whose SEED has videos too
    "suite-nanovlm": (
        *("mmstar", "mmmu-val", "ocrbench", "textvqa-val", "docvqa-val", "scienceqa", "mme", "infovqa-val", "chartqa"),
    ),  # Source: nanoVLM's default tasks
    "suite-docs": ("docvqa-val", "infovqa-val", "chartqa", "ocrbench", "textvqa-val", "ai2d"),
}


class Evaluate(Frozen):
    """Which benchmarks score the trained model, and how it answers."""

    benchmarks: tuple[str, ...] = Field(
        (),
        description="Names in data_manifests/ (kind: benchmark), paths to manifests, or suites: suite-llava-1.5, suite-nanovlm, suite-docs.",
    )
    blind: bool = Field(
        True, description="Also score with every image blanked: what can be guessed from the text alone."
    )
    robustness: tuple[str, ...] = Field(
        (),
        description="Also score with corrupted images: blur, noise, jpeg, rotate or crop, each with a severity from 1 to 5, "
        "as in [blur-3, noise-3]. Strengths: evaluate/answer/corrupt.py.",
    )
    batch_size: int = Field(16, ge=1, description="Questions answered together. Answers do not depend on it in fp32.")
    precision: Literal["fp32", "bf16"] = Field("bf16", description="Arithmetic of the forward pass.")

    @field_validator("benchmarks")
    @classmethod
    def _suites(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        """Put a suite's benchmarks where its name stands; each once."""
        found: list[str] = []
        for word in words:
            if word.startswith("suite-") and word not in SUITES:
                raise ValueError(str(unknown("suite of benchmarks", word, SUITES)))
            found += SUITES.get(word, (word,))
        return tuple(dict.fromkeys(found))

    @field_validator("robustness")
    @classmethod
    def _known(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        check_robustness(words)
        return words

    @property
    def conditions(self) -> tuple[str, ...]:
        """List the conditions under which every benchmark is answered, the usual one first."""
        return (SEEN, *((BLIND,) if self.blind else ()), *self.robustness)
