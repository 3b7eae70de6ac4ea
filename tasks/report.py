"""Stage `report`: the page of a run, and the table of its scores in Prefect. The page is made in report/page.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect.artifacts import create_link_artifact, create_table_artifact

from tasks.record import record
from tasks.run import Run
from tasks.running.shown import link_to, show
from tasks.stage import stage
from tinyllava_core.artifact import Artifact
from tinyllava_core.evaluate.compare.compare import Difference
from tinyllava_core.report import page as core
from tinyllava_core.report.gather import gather
from tinyllava_core.report.scores import Measured, ScoreRow, score_rows
from tinyllava_core.results import EvaluateResult
from tinyllava_core.settings.condition import SEEN, titled

HIDDEN = "right answers not public"
TOLD = (
    "Scores, percent, ± one standard error. Change: from the seen answers, question by question. "
    "Clean: without the questions whose pictures a training mix has, or looks alike. A path: the file to upload."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run leaves to look at."""

    scores: tuple[ScoreRow, ...]
    checkpoint: Path
    report: Path
    lineage: Path

    def score_table(self) -> list[dict[str, str]]:
        """Lay the scores out as rows of cells: seen, blind (every image blanked), and what the pictures are worth."""
        return [
            {
                "benchmark": row.benchmark,
                "metric": row.metric,
                "score": _percent(row.seen),
                "blind": _percent(row.blind),
                "gain": f"{row.gain:+.1f}" if row.gain is not None else "",
                "questions": f"{row.num_questions:,}",
                "unparsed": f"{row.num_unparsed:,}",
            }
            for row in self.scores
        ]

    def condition_table(self) -> list[dict[str, str]]:
        """Lay every score out as a row of cells: each benchmark under each condition, with its difference from the seen one.

        Five columns, or six where a clean score is known: an artifact's page has 580 of a window's 1,280 pixels for them.
        """
        table = []
        for row in self.scores:
            name = " ".join(filter(None, (row.benchmark, row.variant and f"({row.variant})", row.metric or HIDDEN)))
            told = {"benchmark": f"{name}, {row.num_questions:,} questions"}
            if row.submission:
                table.append(
                    {**told, "images": "", "score": row.submission, "change": "", "95 % interval": "", "clean": ""}
                )
            for word, measured, change in row.conditions:
                cells = {"images": word, "score": _percent(measured), **_change(change)}
                table.append({**told, **cells, "clean": _clean(row) if word == SEEN else ""})
        kept = (
            [column for column in table[0] if column != "clean" or any(row["clean"] for row in table)] if table else []
        )
        return [{column: row[column] for column in kept} for row in table]


@stage("report")
def report(
    run: Run,
    trained: Artifact,
    scores: Sequence[Artifact],
    exported: Artifact | None = None,
    overlaps: Mapping[str, Artifact] | None = None,
) -> Outcome:
    """Write the page of a run. Another run with the same recipe and artifacts has the same page: the first one's."""
    inputs = {"checkpoint": trained} | ({"export": exported} if exported else {})
    inputs |= {f"overlap {name}": found for name, found in (overlaps or {}).items()}
    for scored in scores:
        result = scored.result(EvaluateResult)
        inputs[f"evaluate {titled(result.benchmark, result.condition)}"] = scored
    made = record(
        run,
        "report",
        "",
        core.VERSION,
        {"recipe": run.recipe},
        inputs,
        lambda folder: core.write_report(gather(run.workspace, run.run_id, run.recipe), folder / "report.html"),
    )
    outcome = Outcome(
        scores=() if run.looking else tuple(score_rows(gather(run.workspace, run.run_id, run.recipe))),
        checkpoint=trained.folder / "checkpoint",
        report=made.folder / "report.html",
        lineage=run.workspace / "lineage.duckdb",
    )
    show("scores", create_table_artifact, table=outcome.condition_table(), key="scores", description=TOLD)
    link = {"link": link_to(run.workspace, outcome.report), "link_text": f"The report of {run.run_id}"}
    show("report", create_link_artifact, **link, key="report-page", description=f"The report: {outcome.report}")
    return outcome


def _change(change: Difference | None) -> dict[str, str]:
    if change is None:
        return {"change": "", "95 % interval": ""}
    verdict = "within noise" if change.is_noise else f"p {change.p_holm:.4f}"
    return {
        "change": f"{change.difference:+.1f}, {verdict}",
        "95 % interval": f"{change.ci_low:+.1f} .. {change.ci_high:+.1f}",
    }


def _clean(row: ScoreRow) -> str:
    if row.clean is None:
        return ""
    return f"{_percent(row.clean.measured)} without {row.clean.num_contaminated:,}".strip()


def _percent(measured: Measured | None) -> str:
    return f"{measured.score:.1f} ± {measured.stderr:.1f}" if measured else ""
