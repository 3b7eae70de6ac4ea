"""What the page of a run tells, read from its artifact folders. No SQL, no drawing, no HTML.

A part of the run that is not there (no benchmark in the recipe, no blind score) gives an empty table, never an error.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from tinyllava_core.artifact import Artifact
from tinyllava_core.recipe import Recipe
from tinyllava_core.results import TRAININGS

_EXAMPLES = 5  # of what was lost for one reason


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """A run, as its page needs it: who it was, and the artifact of each of its stages in the order they came."""

    run_id: str
    recipe: Recipe
    stages: Sequence[tuple[str, str, Artifact]]  # (stage, name, artifact), as in the lineage table `stage`
    overrides: Mapping[str, Any] = field(default_factory=dict)
    started_at: datetime | None = None
    git_commit: str | None = None
    git_dirty: bool | None = None
    packages: Mapping[str, str] = field(default_factory=dict)
    host: str | None = None
    flow_run_id: str | None = None  # Prefect's
    title: str | None = None  # what it is called beside others, a study's variant; None: by its id
    running: Sequence[tuple[str, str, Path]] = ()  # (stage, name, folder) of trainings that have begun and not ended
    times: Mapping[tuple[str, str], tuple[datetime, float]] = field(
        default_factory=dict
    )  # (stage, name) -> begin, seconds

    def of(self, stage: str) -> Iterator[tuple[str, Artifact]]:
        """Give (name, artifact) of every artifact of a stage."""
        return ((name, artifact) for word, name, artifact in self.stages if word == stage)

    def folders(self, stage: str) -> Iterator[Path]:
        """Give the folder of every artifact of a stage, also of one that is being made."""
        yield from (artifact.folder for _, artifact in self.of(stage))
        yield from (folder for word, _, folder in self.running if word == stage)

    def one(self, stage: str, name: str) -> Artifact | None:
        """Give the artifact of a stage that has this name, if the run has it."""
        return next((artifact for other, artifact in self.of(stage) if other == name), None)

    def seconds(self, stage: str, name: str, artifact: Artifact) -> float:
        """Give what the making of an artifact took, whenever it was: to find one takes no time."""
        seconds: float = artifact.manifest()["seconds"]
        return self.times[stage, name][1] if artifact.made and (stage, name) in self.times else seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRow:
    """One stage of the run: a node of its graph and a row of its table."""

    stage: str
    name: str
    fingerprint: str
    made: bool
    seconds: float  # that the making took, whenever it was
    size_bytes: int
    inputs: tuple[str, ...]  # fingerprints

    @property
    def label(self) -> str:
        """Name the stage in a few words."""
        return self.stage if self.name in ("", self.stage) else f"{self.stage} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The loss of one training stage."""

    stage: str
    steps: tuple[int, ...]
    losses: tuple[float, ...]
    resumed_at: tuple[int, ...]  # first steps of later lives


@dataclass(frozen=True, slots=True, kw_only=True)
class MixRow:
    """One source in one stage's mix; shares in percent."""

    stage: str
    source: str
    share: float | None  # the recipe's word: part of the source per epoch
    wanted: float | None
    records: float
    tokens: float
    supervised: float
    num_records: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LostRow:
    """Records (or pictures) that were asked for and not trained on, for one reason."""

    stage: str
    source: str
    reason: str
    count: int
    examples: tuple[str, ...]  # the first ones

    @property
    def example(self) -> str:
        """Give the first one."""
        return self.examples[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartRow:
    """One part of the model in one training stage."""

    stage: str
    part: str
    num_parameters: int
    num_trained: int
    trainable_from_layer: int | None
    lr: float | None
    moved: bool


def stage_rows(facts: RunFacts) -> list[StageRow]:
    """Read what each stage is, and what went into it."""
    return [
        StageRow(
            stage=stage,
            name=name,
            fingerprint=artifact.fingerprint,
            made=artifact.made,
            seconds=facts.seconds(stage, name, artifact),
            size_bytes=told["size_bytes"],
            inputs=tuple(told["inputs"].values()),
        )
        for stage, name, artifact in facts.stages
        for told in (artifact.manifest(),)
    ]


def curves(facts: RunFacts) -> list[Curve]:
    """Read the losses of each training stage."""
    return [curve(stage, folder) for stage in TRAININGS for folder in facts.folders(stage)]


def curve(stage: str, folder: Path) -> Curve:
    """Read the losses of one training stage, finished or going on in `folder`."""
    steps, lives = whole_rows(folder / "steps.jsonl"), whole_rows(folder / "lives.jsonl")
    return Curve(
        stage=stage,
        steps=tuple(row["step"] for row in steps),
        losses=tuple(row["loss"] for row in steps),
        resumed_at=tuple(life["from_step"] for life in lives if life["from_step"] > 0),
    )


def mix_rows(facts: RunFacts) -> list[MixRow]:
    """Read what each source was to be, and what it is, in each stage's plan."""
    rows: list[MixRow] = []
    for stage in TRAININGS:
        mix, plan = facts.one("mix", stage), facts.one("plan", stage)
        if mix is None or plan is None:
            continue
        entries = mix.manifest()["spec"]["entries"]
        asked = pq.read_table(mix.folder / "mix.parquet", columns=["source"])["source"].to_pylist()
        wanted = Counter(asked)  # after shares, caps, components and filters
        shares = {entry["source"]: entry["share"] for entry in entries}
        table = pq.read_table(plan.folder / "plan.parquet", columns=["source", "num_tokens", "num_supervised"])
        sums = table.group_by("source").aggregate(
            [("num_tokens", "count"), ("num_tokens", "sum"), ("num_supervised", "sum")]
        )
        totals = {name: pc.sum(sums[name]).as_py() or 1 for name in sums.column_names if name != "source"}
        for row in sorted(sums.to_pylist(), key=lambda row: -row["num_tokens_count"]):
            source = row["source"]
            rows.append(
                MixRow(
                    stage=stage,
                    source=source,
                    share=shares.get(source),
                    wanted=100 * wanted[source] / wanted.total() if wanted[source] else None,
                    records=100 * row["num_tokens_count"] / totals["num_tokens_count"],
                    tokens=100 * row["num_tokens_sum"] / totals["num_tokens_sum"],
                    supervised=100 * row["num_supervised_sum"] / totals["num_supervised_sum"],
                    num_records=row["num_tokens_count"],
                )
            )
    return rows


def lost_rows(facts: RunFacts) -> list[LostRow]:
    """Read what was lost on the way, by source and reason, each with its first example."""
    rows: list[LostRow] = []
    for name, artifact in facts.of("download"):
        failures = _rows(artifact.folder / "failures.parquet", ["url", "reason", "detail"])
        rows += _counted("download", ((name, row["reason"], f"{row['url']}: {row['detail']}") for row in failures))
    for _, artifact in facts.of("inspect"):
        dropped = _rows(artifact.folder / "dropped.parquet", ["record_id", "source", "reason", "detail"])
        rows += _counted(
            "inspect", ((row["source"], row["reason"], f"{row['record_id']}: {row['detail']}") for row in dropped)
        )
    for name, artifact in facts.of("plan"):
        voided = _rows(artifact.folder / "voided.parquet", ["record_id", "source", "reason"])
        rows += _counted(f"plan {name}", ((row["source"], row["reason"], row["record_id"]) for row in voided))
    return rows


def part_rows(facts: RunFacts) -> list[PartRow]:
    """Read which parts each stage trained, and whether they moved."""
    names = PartRow.__dataclass_fields__.keys() - {"stage"}
    return [
        PartRow(stage=stage, **{name: row[name] for name in names})
        for stage in TRAININGS
        for _, artifact in facts.of(stage)
        for row in read_jsonl(artifact.folder / "parts.jsonl")
    ]


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON lines. (Texts in it may hold what Python's splitlines takes for line ends: U+2028, U+0085.)"""
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


def whole_rows(path: Path) -> list[dict[str, Any]]:
    """Read the whole lines of a file that may be being written, if it is there."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1] if line]


def _rows(path: Path, columns: list[str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path, columns=columns).to_pylist() if path.is_file() else []
    return rows


def _counted(stage: str, losses: Iterable[tuple[str, str, str]]) -> list[LostRow]:
    counts: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], list[str]] = {}
    for source, reason, example in losses:
        counts[source, reason] += 1
        if len(known := examples.setdefault((source, reason), [])) < _EXAMPLES:
            known.append(example)
    return [
        LostRow(stage=stage, source=key[0], reason=key[1], count=count, examples=tuple(examples[key]))
        for key, count in counts.most_common()
    ]
