"""The scores of a run as a person reads them: seen, blind, and what the pictures were worth. Nothing is scored here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tinyllava_core.artifact import Artifact
from tinyllava_core.results import EvaluateResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One benchmark: percent and standard error, the same with every image blanked, and their difference."""

    benchmark: str
    metric: str
    seen: float
    stderr: float
    blind: float | None  # None: not asked for
    blind_stderr: float | None
    num_questions: int

    def cells(self) -> dict[str, str]:
        """Lay this out as the cells of a table's row."""
        blind = self.blind is not None and self.blind_stderr is not None
        return {
            "benchmark": self.benchmark,
            "metric": self.metric,
            "score": f"{self.seen:.1f} ± {self.stderr:.1f}",
            "blind": f"{self.blind:.1f} ± {self.blind_stderr:.1f}" if blind else "",
            "difference": f"{self.seen - self.blind:+.1f}" if self.blind is not None else "",
            "questions": f"{self.num_questions:,}",
        }


def pair(evaluated: Sequence[Artifact]) -> list[Score]:
    """Put each benchmark's seen and blind results side by side, in the order they came."""
    results = [artifact.result(EvaluateResult) for artifact in evaluated]
    blind = {result.benchmark: result for result in results if result.blind}
    return [
        Score(
            benchmark=result.benchmark,
            metric=result.metric,
            seen=result.score,
            stderr=result.stderr,
            blind=blind[result.benchmark].score if result.benchmark in blind else None,
            blind_stderr=blind[result.benchmark].stderr if result.benchmark in blind else None,
            num_questions=result.num_questions,
        )
        for result in results
        if not result.blind
    ]
