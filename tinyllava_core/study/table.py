"""What a study found, as rows: each variant's scores over its trainings, and what it cost. Nothing is run or drawn here."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tinyllava_core.evaluate.compare.published import Published
from tinyllava_core.evaluate.compare.score_pair import Kept
from tinyllava_core.report.scores import ScoreRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """One run of a study that came to its end."""

    variant: str
    seed: int
    order: int = 0  # of the records
    scores: tuple[ScoreRow, ...]
    num_trained: int  # parameters, in the last stage
    train_seconds: float  # of all stages
    last_loss: float  # of the last stage
    checkpoint: Path
    report: Path | None = None  # the page of the run
    kept: tuple[Kept, ...] = ()  # the items of its scores, pictures seen
    published: tuple[Published, ...] = ()  # of the same model
    uneven_end: str = ""  # which source is not at the end of the last stage as in the whole of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A variant's score on one benchmark, in percent of the most it can be."""

    score: float  # mean over the trainings
    error: float  # standard error: over the trainings where there are several, else over the benchmark's questions
    blind: float | None  # mean over the trainings, every picture blanked


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One variant."""

    variant: str
    num_runs: int  # trainings: seeds and orders
    cells: dict[str, Cell]  # by benchmark
    num_trained: int
    train_seconds: float  # mean over them
    last_loss: float  # mean over them


def tabulate(runs: Sequence[Finished]) -> list[Row]:
    """Put the runs of each variant together, in the order of their first."""
    rows = []
    for variant in dict.fromkeys(run.variant for run in runs):
        mine = [run for run in runs if run.variant == variant]
        names = dict.fromkeys(label(score) for run in mine for score in run.scores)
        cells = {name: cell for name in names if (cell := _cell(mine, name)) is not None}
        rows.append(
            Row(
                variant=variant,
                num_runs=len(mine),
                cells=cells,
                num_trained=mine[0].num_trained,
                train_seconds=statistics.fmean(run.train_seconds for run in mine),
                last_loss=statistics.fmean(run.last_loss for run in mine),
            )
        )
    return rows


def _cell(runs: Sequence[Finished], benchmark: str) -> Cell | None:
    scores = [score for run in runs for score in run.scores if label(score) == benchmark]
    seen = [score.seen for score in scores if score.seen]
    blind = [score.blind.percent for score in scores if score.blind]
    if not seen:
        return None
    values = [one.percent for one in seen]
    error = (
        statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 100 * seen[0].stderr / seen[0].max_score
    )
    return Cell(score=statistics.fmean(values), error=error, blind=statistics.fmean(blind) if blind else None)


def label(score: ScoreRow) -> str:
    """Name a score: the benchmark, and which of its variants where it has some."""
    return f"{score.benchmark} {score.variant}".strip()


def apart(scores: Iterable[ScoreRow]) -> Iterator[ScoreRow]:
    """Give each score, and behind it those with corrupted pictures as scores of their own, called by their condition."""
    for score in scores:
        yield score
        for word, measured in score.corrupted.items():
            yield replace(score, variant=f"{score.variant} {word}".strip(), seen=measured, blind=None, corrupted={})


def benchmarks(rows: Sequence[Row]) -> list[str]:
    """Name the benchmarks of a table, in their order."""
    return list(dict.fromkeys(name for row in rows for name in row.cells))


def cells(rows: Sequence[Row], cut: Sequence[str] = ()) -> list[list[str]]:
    """Write the table as texts: a head, then a line for each variant, and one without numbers for each that was `cut` before its end."""
    names = benchmarks(rows)
    head = ["variant", *names, "trained", "last loss", "training"]
    body = [
        [
            row.variant,
            *(_score(row.cells.get(name)) for name in names),
            f"{row.num_trained:,}",
            f"{row.last_loss:.3f}",
            f"{row.train_seconds:.0f} s",
        ]
        for row in rows
    ]
    return [head, *body, *([name, *("cut" for _ in names), "", "", ""] for name in cut)]


def _score(cell: Cell | None) -> str:
    if cell is None:
        return ""
    return f"{cell.score:.1f} ± {cell.error:.1f}" + ("" if cell.blind is None else f" (blind {cell.blind:.1f})")


def told(runs: Sequence[Finished]) -> str:
    """Say what the errors of a table count, and so what a difference in it can show."""
    variants: dict[str, set[tuple[int, int]]] = {}
    for run in runs:
        variants.setdefault(run.variant, set()).add((run.seed, run.order))
    trainings = [len(ways) for ways in variants.values()]
    if min(trainings, default=0) < 2:
        return (
            "± is one standard error over the questions of one training: it says how far these checkpoints differ, not whether the same "
            "change would do the same in another order of the records; give the study orders or seeds for that."
        )
    seeds, orders = ({run.seed for run in runs}, {run.order for run in runs})
    return (
        f"± is one standard error over the trainings of a variant, {min(trainings)} each ({len(seeds)} seeds x {len(orders)} orders of the "
        "records): a training is the unit, not a question."
    )


def markdown(table: Sequence[Sequence[str]]) -> str:
    """Write a table, its head first, for a page of documentation."""
    head, *body = table
    lines = [head, ["---"] * len(head), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def as_csv(runs: Sequence[Finished]) -> str:
    """Write one line for each run and benchmark, every number as it is."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["variant", "seed", "order", "benchmark", "metric", "score", "stderr", "blind", "num_trained", "train_seconds", "last_loss", "checkpoint"])  # fmt: skip
    for run in runs:
        for score in run.scores:
            seen, blind = score.seen, score.blind
            numbers = [seen.score if seen else None, seen.stderr if seen else None, blind.score if blind else None]
            cost = [run.num_trained, run.train_seconds, run.last_loss, run.checkpoint]
            writer.writerow([run.variant, run.seed, run.order, label(score), score.metric, *numbers, *cost])
    return out.getvalue()
