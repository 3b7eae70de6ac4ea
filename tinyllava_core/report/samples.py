"""The first training records as the model saw them, for the page of a run. train/samples.py wrote them down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tinyllava_core.data.inspect.small import inline
from tinyllava_core.report.facts import RunFacts, read_jsonl
from tinyllava_core.results import TRAININGS


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Tokens in a row that the same is done with."""

    kind: str  # image | learned | read
    text: str
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One record of the first packed sequence of a stage."""

    stage: str
    record_id: str
    source: str
    pictures: tuple[str, ...]  # data URIs, at the encoder's size
    spans: tuple[Span, ...]

    @property
    def num_tokens(self) -> int:
        """Count its tokens, those of images too."""
        return sum(len(span.ids) for span in self.spans)

    @property
    def num_learned(self) -> int:
        """Count the tokens that carry a loss."""
        return sum(len(span.ids) for span in self.spans if span.kind == "learned")


def samples(facts: RunFacts) -> list[Sample]:
    """Read what each training stage wrote of its first records; nothing of those that an older version trained."""
    found = []
    for stage in TRAININGS:
        plan = facts.one("plan", stage)
        for _, artifact in facts.of(stage):
            file = artifact.folder / "samples.jsonl"
            rows = read_jsonl(file) if file.is_file() and plan is not None else []
            planned = _planned(plan.folder / "plan.parquet") if rows and plan else []
            for row, of in zip(rows, planned, strict=False):
                pictures = ((artifact.folder / name).read_bytes() for name in row["pictures"])
                found.append(
                    Sample(
                        stage=stage,
                        record_id=of["record_id"],
                        source=of["source"],
                        pictures=tuple(inline(one, "png") for one in pictures),
                        spans=tuple(
                            Span(kind=one["kind"], text=one["text"], ids=tuple(one["ids"])) for one in row["spans"]
                        ),
                    )
                )
    return found


def _planned(path: Path) -> Sequence[dict[str, Any]]:
    """Give the records of the first pack of step 0, in their order."""
    wanted = [("step", "==", 0), ("pack", "==", 0)]
    rows: list[dict[str, Any]] = pq.read_table(path, filters=wanted).to_pylist()
    return sorted(rows, key=lambda row: row["slot"])
