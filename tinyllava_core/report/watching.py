"""How a run stands, for a terminal: its stages, the curve of the training that is at work, and when that will be done.

It reads what the run has left so far, like any page, and disturbs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tinyllava_core.report.facts import RunFacts
from tinyllava_core.report.html import seconds
from tinyllava_core.report.training import whole_rows

BLOCKS = "▁▂▃▄▅▆▇█"
WIDTH = 48  # characters of a curve
_RECENT = 20  # steps that the time to go is told from
_SHOWN = 3  # records of the last step


@dataclass(frozen=True, slots=True, kw_only=True)
class AtWork:
    """A training that is going on."""

    stage: str
    rows: Sequence[Mapping[str, Any]]  # of metrics.jsonl
    num_steps: int | None  # of its plan; None: the plan is not there
    records: Sequence[str]  # some of those of the last step

    @property
    def done(self) -> int:
        """Count the finished steps."""
        return int(self.rows[-1]["step"]) + 1 if self.rows else 0

    @property
    def seconds_left(self) -> float | None:
        """Tell the time to the last step at the pace of the latest ones; None before there is one."""
        if not self.rows or self.num_steps is None:
            return None
        recent = self.rows[-_RECENT:]
        return (self.num_steps - self.done) * sum(row["seconds"] for row in recent) / len(recent)


def at_work(facts: RunFacts) -> list[AtWork]:
    """Read the trainings of a run that have begun and not ended."""
    found = []
    for stage, _, folder in facts.running:
        rows, plan = whole_rows(folder / "metrics.jsonl"), facts.one("plan", stage)
        steps = plan.manifest()["result"]["num_steps"] if plan else None
        records = _records(plan.folder / "plan.parquet", rows[-1]["step"]) if plan and rows else ()
        found.append(AtWork(stage=stage, rows=rows, num_steps=steps, records=records))
    return found


def _records(plan: Path, step: int) -> tuple[str, ...]:
    table = pq.read_table(plan, columns=["record_id"], filters=[("step", "==", step)])
    return tuple(table["record_id"].to_pylist()[:_SHOWN])


def sparkline(values: Sequence[float], width: int = WIDTH) -> str:
    """Draw a curve in one line: the mean of each of at most `width` pieces, from its lowest to its highest."""
    if not values:
        return ""
    size = max(1, -(-len(values) // width))
    means = [sum(part) / len(part) for start in range(0, len(values), size) for part in (values[start : start + size],)]
    low, high = min(means), max(means)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0
    return "".join(BLOCKS[round((mean - low) * scale)] for mean in means)


def screen(facts: RunFacts, state: str) -> RenderableType:
    """Lay out how a run stands. `state`: Running, Completed, Killed ..."""
    head = Text.assemble(
        (facts.recipe.name, "bold"), f"  {facts.run_id}  ", (state, "green" if state == "Completed" else "yellow")
    )
    if facts.started_at is not None and state == "Running":
        begun = facts.started_at if facts.started_at.tzinfo else facts.started_at.replace(tzinfo=UTC)
        head.append(f"  for {seconds((datetime.now(UTC) - begun).total_seconds())}")
    parts: list[RenderableType] = [head, _stages(facts)]
    parts += [part for work in at_work(facts) for part in _work(work)]
    return Group(*parts)


def _stages(facts: RunFacts) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    kinds: dict[str, list[Text]] = {}
    for stage, name, artifact in facts.stages:
        took = facts.times.get((stage, name), (None, 0.0))[1]
        told = seconds(took) if artifact.made else "cached"
        shown = name if name not in ("", stage) else ""
        kinds.setdefault(stage, []).append(Text.assemble(f"{shown} " if shown else "", (told, "dim")))
    for stage, texts in kinds.items():
        table.add_row(Text(f"✓ {stage}", style="green"), Text("   ").join(texts))
    return table


def _work(work: AtWork) -> list[RenderableType]:
    left = work.seconds_left
    of = f" of {work.num_steps:,}" if work.num_steps else ""
    head = Text.assemble(
        (f"\n▸ {work.stage}", "bold yellow"),
        f"  step {work.done:,}{of}",
        f"  {seconds(left)} to go" if left is not None else "",
    )
    if not work.rows:
        return [head]
    table, last = Table(box=None, padding=(0, 2, 0, 0), show_header=False), work.rows[-1]
    table.add_row("loss", Text(sparkline([row["loss"] for row in work.rows]), style="cyan"), f"{last['loss']:.4f}")
    for source in dict.fromkeys(name for row in work.rows for name in row["loss_by_source"]):
        mine = [row["loss_by_source"][source] for row in work.rows if source in row["loss_by_source"]]
        table.add_row(Text(f"  {source}"), Text(sparkline(mine), style="dim cyan"), f"{mine[-1]:.4f}")
    table.add_row(
        "gradient", Text(sparkline([row["grad_norm"] for row in work.rows]), style="cyan"), f"{last['grad_norm']:.3f}"
    )
    table.add_row(
        "tokens/s",
        Text(sparkline([row["tokens_per_s"] for row in work.rows]), style="cyan"),
        f"{last['tokens_per_s']:,.0f}",
    )
    told = f"waited for data {100 * last['data_wait_share']:.1f} %" + (
        f", MFU {100 * last['mfu']:.1f} %" if last["mfu"] is not None else ""
    )
    return [head, table, Text(f"{told}; last: {', '.join(work.records)}", style="dim")]
