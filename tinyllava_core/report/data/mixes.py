"""What a mix is made of as training goes on, and which of its pictures look like others. Counted from mix, plan and overlap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.data.inspect.small import small, small_of
from tinyllava_core.data.shard.read import ShardReader
from tinyllava_core.report.answers.collect import images_of
from tinyllava_core.report.facts import RunFacts
from tinyllava_core.report.figures import COLOURS
from tinyllava_core.results import TRAININGS

_BINS = 40  # of a training's steps
_PAIRS = 6  # shown of each kind
_EDGE = 176  # pixels of a shown picture
OTHER = "all others"


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedRow:
    """One stage's mix over its steps."""

    stage: str
    names: tuple[str, ...]  # components, those with the most tokens first; at most COLOURS
    edges: tuple[float, ...]  # steps
    shares: tuple[tuple[float, ...], ...]  # of each name, percent of the tokens between each two edges
    totals: tuple[float, ...]  # of each name, percent of all tokens

    @property
    def is_mixed(self) -> bool:
        """Tell whether there is more than one component to draw."""
        return len(self.names) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Alike:
    """Two pictures that are equal or look alike."""

    stage: str
    how: str
    distance: int | None  # bits of 64 in which their hashes differ
    first: bytes | None  # JPEG
    second: bytes | None
    told: str


def mixed_rows(facts: RunFacts) -> list[MixedRow]:
    """Read how each stage's plan lays its mix out in time, by component."""
    rows = []
    for stage in TRAININGS:
        mix, plan = facts.one("mix", stage), facts.one("plan", stage)
        if mix is not None and plan is not None and "component" in pq.read_schema(mix.folder / "mix.parquet").names:
            rows.append(_mixed(stage, mix.folder, plan.folder))
    return rows


def _mixed(stage: str, mix: Path, plan: Path) -> MixedRow:
    mixed = pq.read_table(mix / "mix.parquet", columns=["position", "component"])
    planned = pq.read_table(plan / "plan.parquet", columns=["step", "position", "num_tokens"])
    components = mixed["component"].combine_chunks().dictionary_encode()
    code_of_position = np.full(int(mixed["position"].to_numpy().max()) + 1, -1)
    code_of_position[mixed["position"].to_numpy()] = components.indices.to_numpy(zero_copy_only=False)
    code, tokens = code_of_position[planned["position"].to_numpy()], planned["num_tokens"].to_numpy()
    names = components.dictionary.to_pylist()
    sums = np.bincount(code, weights=tokens, minlength=len(names))
    order = np.argsort(-sums, kind="stable")
    if len(names) > COLOURS:  # what is beyond the colours is one
        place = np.full(len(names), COLOURS - 1)
        place[order[: COLOURS - 1]] = np.arange(COLOURS - 1)
        shown = [*(names[n] for n in order[: COLOURS - 1]), OTHER]
    else:
        place, shown = np.argsort(order, kind="stable"), [names[n] for n in order]
    last = int(planned["step"].to_numpy().max()) + 1
    edges = np.linspace(0, last, min(_BINS, last) + 1)
    counted, *_ = np.histogram2d(
        place[code], planned["step"].to_numpy() + 0.5, (np.arange(len(shown) + 1), edges), weights=tokens
    )
    return MixedRow(
        stage=stage,
        names=tuple(shown),
        edges=tuple(edges.tolist()),
        shares=tuple(map(tuple, (100 * counted / np.maximum(counted.sum(axis=0), 1)).tolist())),
        totals=tuple((100 * counted.sum(axis=1) / counted.sum()).tolist()),
    )


def alike(facts: RunFacts) -> Iterator[Alike]:
    """Give some pairs that `mix` or `overlap` found: records of a mix that say the same, and pictures of benchmarks in it."""
    for stage in TRAININGS:
        shard, mix = facts.one("shard", stage), facts.one("mix", stage)
        if shard is None or mix is None or not (shard.folder / "index.parquet").is_file():
            continue
        shown = _Pictures(shard.folder)
        for name in (stage, f"{stage} benchmarks"):
            for artifact in filter(None, (facts.one("overlap", name), mix if name == stage else None)):
                yield from _duplicates(stage, artifact.folder / "duplicates.parquet", shown)
                yield from _contaminated(facts, stage, artifact.folder / "contamination.parquet", shown)


class _Pictures:
    """The first picture of a record, out of the tars."""

    def __init__(self, shards: Path) -> None:
        index = pq.read_table(shards / "index.parquet", columns=["record_id"])["record_id"].to_pylist()
        self._rows, self._reader = {record: row for row, record in enumerate(index)}, ShardReader(shards)

    def of(self, record_id: str) -> bytes | None:
        row = self._rows.get(record_id)
        images = self._reader.images(row) if row is not None else []
        return small_of(images[0], _EDGE, 82) if images else None


def _duplicates(stage: str, path: Path, shown: _Pictures) -> Iterator[Alike]:
    for row in _nearest(path):
        first, second = row["first_record_id"], row["record_id"]
        told = f"{first} and {second}" + (", of which one was left out" if row["dropped"] else "")
        yield Alike(
            stage=stage,
            how=row["how"],
            distance=row["distance"],
            first=shown.of(first),
            second=shown.of(second),
            told=told,
        )


def _contaminated(facts: RunFacts, stage: str, path: Path, shown: _Pictures) -> Iterator[Alike]:
    for row in _nearest(path):
        places = _benchmark_images(facts, row["benchmark"])
        theirs = small(places.look_up(row["benchmark_image"]), _EDGE, 82) if places else None
        told = f"{row['record_id']} and {row['benchmark']}'s {row['benchmark_image']}"
        yield Alike(
            stage=stage,
            how=row["how"],
            distance=row["distance"],
            first=shown.of(row["record_id"]),
            second=theirs,
            told=told,
        )


def _nearest(path: Path) -> list[dict[str, Any]]:
    rows = pq.read_table(path).to_pylist() if path.is_file() else []
    rows.sort(key=lambda row: row.get("distance") or 0)
    pairs = {(row.get("image") or row["record_id"], row.get("benchmark_image")): row for row in reversed(rows)}
    return list(reversed(pairs.values()))[:_PAIRS]  # of records about one picture, one


def _benchmark_images(facts: RunFacts, name: str) -> ImagePlaces | None:
    evaluation, downloaded = facts.one("evaluate", name), facts.one("download", name)
    return images_of(evaluation, downloaded) if evaluation else None
