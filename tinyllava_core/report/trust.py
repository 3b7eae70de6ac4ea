"""What to know before a run's scores are believed: pictures that the training mixes share with the benchmarks, and by what
they were found to be equal; what others published; the numbers behind a headline; and what the run cost. Read from artifact folders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from tinyllava_core.evaluate.compare.published import Beside, beside, same_model, table
from tinyllava_core.report.facts import RunFacts, read_jsonl
from tinyllava_core.report.scores import WAYS, ScoreRow
from tinyllava_core.results import TRAININGS, EvaluateResult, TrainResult
from tinyllava_core.settings.condition import SEEN

WATTS = 700  # of one GPU. Source: NVIDIA's data sheet of the H100 SXM, the most that any GPU of estimate/gpus.py draws


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedRow:
    """Pictures of one benchmark that one mix has, found in one way."""

    mix: str
    benchmark: str
    way: str
    num_pictures: int  # of the benchmark
    num_records: int  # of the mix
    num_dropped: int  # of those records, left out of the mix for it
    farthest: int | None  # bits of 64 in which the most different pair's hashes differ, where it is about looks
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRow:
    """The time of one stage on its devices."""

    what: str
    device: str
    num_devices: int
    hours: float  # on the clock, of all lives

    @property
    def device_hours(self) -> float:
        """Multiply by the devices."""
        return self.hours * self.num_devices

    @property
    def kilowatt_hours(self) -> float | None:
        """Bound the energy of GPUs from above; None on a CPU, whose draw nobody knows here."""
        return self.device_hours * WATTS / 1000 if self.device == "cuda" else None


def shared_rows(facts: RunFacts) -> list[SharedRow]:
    """Count, by mix, benchmark and way, the pictures that training has in common with benchmarks."""
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for stage, name, artifact in facts.stages:
        path = artifact.folder / "contamination.parquet"
        if stage in ("mix", "overlap") and path.is_file():
            for row in pq.read_table(path).to_pylist():
                found.setdefault((name.removesuffix(" benchmarks"), row["benchmark"], row.get("how") or ""), []).append(
                    row
                )
    order = list(WAYS)
    rows = [_shared(*key, pairs) for key, pairs in found.items()]
    return sorted(rows, key=lambda row: (row.mix, row.benchmark, order.index(row.way) if row.way in order else 99))


def _shared(mix: str, benchmark: str, way: str, pairs: list[dict[str, Any]]) -> SharedRow:
    distances = [pair["distance"] for pair in pairs if isinstance(pair.get("distance"), int)]
    first = pairs[0]
    return SharedRow(
        mix=mix,
        benchmark=benchmark,
        way=way,
        num_pictures=len({pair["benchmark_image"] for pair in pairs}),
        num_records=len({pair.get("record_id") for pair in pairs}),
        num_dropped=len({pair.get("record_id") for pair in pairs if pair["dropped"]}),
        farthest=max(distances, default=None) if way == "looks" else None,
        example=f"{first['image']} = {first['benchmark_image']}" if first.get("image") else "",
    )


def cost_rows(facts: RunFacts) -> list[CostRow]:
    """Say what each training, and all evaluations together, took."""
    rows = []
    for stage in TRAININGS:
        for _, artifact in facts.of(stage):
            result = artifact.result(TrainResult)
            hours = result.seconds / 3600
            rows.append(CostRow(what=stage, device=result.device, num_devices=result.world_size, hours=hours))
    evaluations = list(facts.of("evaluate"))
    if evaluations and rows:
        hours = sum(facts.seconds("evaluate", name, one) for name, one in evaluations) / 3600
        asked = sum(one.result(EvaluateResult).num_questions for _, one in evaluations)
        rows.append(CostRow(what=f"evaluate, {asked:,} answers", device=rows[-1].device, num_devices=1, hours=hours))
    return rows


def published_rows(facts: RunFacts, scores: Sequence[ScoreRow]) -> list[Beside]:
    """Lay published scores beside the run's: those of the same model; where nobody published it, those that share a part with it."""
    model = facts.recipe.model
    rows = same_model(model.vision, model.language, facts.recipe.name)
    rows = rows or [row for row in table().rows if row.vision == model.vision or row.language == model.language]
    return [one for row in scores if row.seen for one in beside(row.benchmark, row.seen.score, row.seen.stderr, rows)]


def subscores(facts: RunFacts) -> dict[str, list[dict[str, Any]]]:
    """Read the numbers of each benchmark that are not its headline, as seen: name, value, stderr, n, max_score."""
    found = {}
    for _, artifact in facts.of("evaluate"):
        result, path = artifact.result(EvaluateResult), artifact.folder / "subscores.jsonl"
        rows = read_jsonl(path) if result.condition == SEEN and path.is_file() else []
        rows = [row for row in rows if (row["name"], row["n"]) != (result.metric, result.num_questions)]
        if rows:
            found[result.benchmark] = rows
    return found
