"""The curves of each training stage, and how its plan fills its packs: numbers from metrics.jsonl and plan.parquet, drawn.

A run that is still at it has its curves as far as it has come.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from markupsafe import Markup

from tinyllava_core.artifact import Artifact
from tinyllava_core.report.facts import RunFacts, whole_rows
from tinyllava_core.report.figures import COLOURS, Series, draw_counts, draw_lines, rounded
from tinyllava_core.results import TRAININGS

_BINS = 32
_POINTS = 200  # of a line over the records' own steps, at most about twice as many
_LATE = 0.1  # of the steps: where a training ended
_APART = 2  # standard errors that two sources must lie apart to be told so


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One figure: its title, its drawing, and the names of its lines with their last values, the highest first."""

    stage: str
    title: str
    drawing: Markup
    legend: tuple[tuple[int, str, str], ...] = ()  # (colour, name, last value)
    note: str = ""


def charts(facts: RunFacts) -> list[tuple[str, list[Chart]]]:
    """Draw what each training stage measured, stage by stage; a figure without numbers is left out."""
    found = [
        (stage, list(_of_stage(stage, folder, facts.one("mix", stage))))
        for stage in TRAININGS
        for folder in facts.folders(stage)
    ]
    return [(stage, drawn) for stage, drawn in found if drawn]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLoss:
    """One source's loss in one training stage: means over the steps that had records of it."""

    source: str
    first: float  # over the first tenth of the steps
    last: float  # over the last tenth
    stderr: float | None  # of `last`, over its steps; None: there is one
    held_out: float | None  # at the last look


def source_losses(facts: RunFacts) -> list[tuple[str, str, list[SourceLoss]]]:
    """Tell for each stage of several sources which ends with the highest loss -> (stage, in words, sources, the highest first)."""
    found = []
    for stage in TRAININGS:
        for folder in facts.folders(stage):
            losses = _source_losses(whole_rows(folder / "metrics.jsonl"), whole_rows(folder / "held_out.jsonl"))
            if len(losses) > 1:
                found.append((stage, _worst(stage, losses), losses))
    return found


def _source_losses(rows: Sequence[Mapping[str, Any]], held: Sequence[Mapping[str, Any]]) -> list[SourceLoss]:
    steps = rows[-1]["step"] + 1 if rows else 0
    known = held[-1].get("loss_by_source", {}) if held else {}
    found = []
    for line in _by(rows, "loss_by_source"):
        points = list(zip(line.steps, line.values, strict=True))
        first = [value for step, value in points if step < _LATE * steps]
        last = [value for step, value in points if step >= (1 - _LATE) * steps]
        if first and last:
            error = statistics.stdev(last) / len(last) ** 0.5 if len(last) > 1 else None
            means = {"first": statistics.fmean(first), "last": statistics.fmean(last)}
            found.append(SourceLoss(source=line.name, **means, stderr=error, held_out=known.get(line.name)))
    return sorted(found, key=lambda one: -one.last)


def _worst(stage: str, losses: Sequence[SourceLoss]) -> str:
    worst, second = losses[:2]
    said = f"At the end of {stage} the loss is highest on {worst.source}: {worst.last:.3f}, and {second.last:.3f} on {second.source}"
    if worst.stderr is None or second.stderr is None:
        return f"{said}; too few steps to say how sure that is."
    is_apart = worst.last - second.last > _APART * (worst.stderr**2 + second.stderr**2) ** 0.5
    return f"{said}." if is_apart else f"{said}, which is within what the steps vary."


def _of_stage(stage: str, folder: Path, mixed: Artifact | None) -> list[Chart]:
    rows = whole_rows(folder / "metrics.jsonl")
    held = whole_rows(folder / "held_out.jsonl")
    lives = whole_rows(folder / "lives.jsonl")
    resumed = [life["from_step"] for life in lives if life["from_step"] > 0]

    sources = _by(rows, "loss_by_source")

    def one(title: str, lines: Sequence[Series], high: float | None = None) -> Chart | None:
        return _chart(stage, title, lines, resumed, high)

    drawn = [
        one("loss by source", sources if len(sources) > 1 else []),
        one("loss by component", _by_component(folder, mixed.folder) if mixed else []),
        one(
            "loss on held-out records", [_line(held, "held out", lambda row: row["loss"]), *_by(held, "loss_by_source")]
        ),
        one("norm of the gradient by part", _by(rows, "grad_norm_by_part")),
        one("learning rate by part", _alike(_by(rows, "lr", is_exact=True))),
        one("tokens a second", [_line(rows, "", lambda row: row["tokens_per_s"])]),
        one("time spent waiting for data, percent", [_line(rows, "", lambda row: 100 * row["data_wait_share"])], 5),
        one("model FLOP utilisation, percent", [_line(rows, "", lambda row: _percent(row["mfu"]))]),
        one("peak GPU memory, GB", [_line(rows, "", lambda row: _giga(row["peak_memory_bytes"]))]),
    ]
    return [chart for chart in drawn if chart]


def _chart(stage: str, title: str, lines: Sequence[Series], resumed: Sequence[int], high: float | None) -> Chart | None:
    """Draw the lines that have values, those with the highest last value first, at most COLOURS."""
    known = sorted((line for line in lines if line.steps), key=lambda line: -line.last)
    shown = known[:COLOURS]
    if not shown:
        return None
    told = "; ".join(f"{line.name or title} {rounded(line.last)}" for line in shown)
    drawing = draw_lines(f"{stage}: {title}, at the end: {told}", shown, resumed, high)
    legend = tuple((number, line.name, _said(line)) for number, line in enumerate(shown) if line.name)
    left = len(known) - len(shown)
    note = f"The {COLOURS} that end highest, of {len(known)}." if left else ""
    return Chart(stage=stage, title=title, drawing=Markup(drawing), legend=legend, note=note)


def _line(rows: Sequence[Mapping[str, Any]], name: str, value: Callable[[Mapping[str, Any]], float | None]) -> Series:
    points = [(row["step"], found) for row in rows if (found := value(row)) is not None]
    return Series(name=name, steps=[step for step, _ in points], values=[found for _, found in points])


def _by(rows: Sequence[Mapping[str, Any]], key: str, is_exact: bool = False) -> list[Series]:
    """Give a line for every name that a column of mappings has."""
    names = dict.fromkeys(name for row in rows for name in row.get(key, ()))
    lines = (_line(rows, name, lambda row, name=name: row[key].get(name)) for name in names)  # type: ignore[misc]
    return [replace(line, is_exact=is_exact) for line in lines]


def _alike(lines: Sequence[Series]) -> list[Series]:
    """Make one of lines that lie on each other: only the last would be seen."""
    same: dict[tuple[Any, ...], list[Series]] = {}
    for line in lines:
        same.setdefault((*line.steps, *line.values), []).append(line)
    return [replace(found[0], name=", ".join(line.name for line in found)) for found in same.values()]


def _said(line: Series) -> str:
    """Write what a line comes to: its last value; the highest of one that was set, which ends where its schedule does."""
    return f"at most {rounded(max(line.values))}" if line.is_exact else rounded(line.last)


def _by_component(training: Path, mixed: Path) -> list[Series]:
    """Give a line for each component, where a mix has more of them than sources: from the losses that the records had at their own steps."""
    if not (training / "record_losses.parquet").is_file():
        return []
    told = pq.read_table(mixed / "mix.parquet", columns=["record_id", "source", "component"])
    component = pc.coalesce(told["component"], told["source"])
    if len(pc.unique(component)) <= len(pc.unique(told["source"])):
        return []
    rows = pq.read_table(
        training / "record_losses.parquet", columns=["step", "record_id", "loss_sum", "num_supervised"]
    )
    place = pc.index_in(rows["record_id"].cast(pa.string()), told["record_id"].combine_chunks())
    every = max(1, (pc.max(rows["step"]).as_py() + 1) // _POINTS)
    middle = pc.add(pc.multiply(pc.divide(rows["step"], every), every), every // 2)
    rows = pa.table(
        {"name": component.take(place), "step": middle, "loss": rows["loss_sum"], "tokens": rows["num_supervised"]}
    )
    sums = rows.group_by(["name", "step"]).aggregate([("loss", "sum"), ("tokens", "sum")]).sort_by("step").to_pylist()
    names = sorted({row["name"] for row in sums})
    return [
        _line([row for row in sums if row["name"] == name], name, lambda row: row["loss_sum"] / row["tokens_sum"])
        for name in names
    ]


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _giga(value: float | None) -> float | None:
    return None if value is None else value / 1e9


def plan_charts(facts: RunFacts) -> list[Chart]:
    """Draw, for each stage's plan, how long its records are in tokens, and how full its packs are."""
    drawn = []
    for stage in TRAININGS:
        plan = facts.one("plan", stage)
        if plan is None:
            continue
        table = pq.read_table(plan.folder / "plan.parquet")
        spec, tokens = plan.manifest()["spec"], table["num_tokens"].to_numpy()
        drawn.append(_counted(stage, "records by length", tokens, "tokens", spec.get("max_length")))
        if {"step", "pack"} <= set(table.column_names):
            pack = table["step"].to_numpy().astype(np.int64) * (1 << 20) + table["pack"].to_numpy()
            fills = np.bincount(np.unique(pack, return_inverse=True)[1], weights=tokens)
            drawn.append(_counted(stage, "packs by length", fills, "tokens", spec.get("pack_length")))
    return [chart for chart in drawn if chart]


def _counted(stage: str, title: str, values: np.ndarray, unit: str, most: int | None) -> Chart | None:
    if not len(values):
        return None
    counts, edges = np.histogram(values, bins=_BINS, range=(0, float(values.max())))
    middle = f"median {np.median(values):,.0f}, longest {values.max():,.0f}"
    label = f"{stage}: {title}: {len(values):,}, {middle}"
    note = f"{len(values):,}; {middle}" + (f" of at most {most:,}" if most else "")
    drawing = Markup(draw_counts(label, edges.tolist(), counts.tolist(), unit))
    return Chart(stage=stage, title=title, drawing=drawing, note=note)
