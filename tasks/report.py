"""Stage `report`: the page of a run, and the table of its scores in Prefect. The page is made in report/page.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from prefect.artifacts import create_link_artifact, create_table_artifact

from tasks.record import record
from tasks.run import Run
from tasks.running.named import page_of, study_of_run
from tasks.running.progress import LOG
from tasks.running.shown import address, show
from tasks.stage import stage
from tinyllava_core.artifact import Artifact
from tinyllava_core.boards import Board
from tinyllava_core.evaluate.compare.compare import Difference
from tinyllava_core.report import page as core
from tinyllava_core.report.gather import gather
from tinyllava_core.report.scores import Measured, ScoreRow, score_rows
from tinyllava_core.results import EvaluateResult, TrainResult
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
    run_id: str = ""  # of the lineage; none where a run only looks

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

        Few and short columns: an artifact's page has 580 of a window's 1,280 pixels for them.
        """
        table = []
        for row in self.scores:
            words = dict.fromkeys(
                (row.benchmark, row.variant, row.metric or HIDDEN)
            )  # a variant may be called as its metric
            told = {"benchmark": " ".join(filter(None, words))}
            if row.submission:
                table.append({**told, "images": "", "score": row.submission, **_change(None)})
            for word, measured, change in row.conditions:
                table.append({**told, "images": word, "score": _percent(measured), **_change(change)})
                if word == SEEN and row.clean is not None:
                    left = {
                        "change": f"without {row.clean.num_contaminated:,} of {row.num_questions:,}",
                        "95 % interval": "",
                    }
                    table.append({**told, "images": "clean", "score": _percent(row.clean.measured), **left})
        return table


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
    facts = cache(partial(gather, run.workspace, run.run_id, run.recipe))  # not where a run only looks
    made = record(
        run,
        "report",
        "",
        core.VERSION,
        {"recipe": run.recipe} | ({"study": of} if (of := study_of_run()) else {}),
        inputs,
        lambda folder: core.write_report(facts(), folder / "report.html", study=of and f"../../../{page_of(of)}"),
    )
    outcome = Outcome(
        scores=() if run.looking else tuple(score_rows(facts())),
        checkpoint=trained.folder / "checkpoint",
        report=made.folder / "report.html",
        lineage=run.workspace / "lineage.duckdb",
        run_id=run.run_id,
    )
    if made.made and outcome.scores and trained.stage in run.recipe.stages():
        _tell_boards(run, trained, outcome.scores)
    show("scores", create_table_artifact, table=outcome.condition_table(), key="scores", description=TOLD)
    link = address(run.workspace, "report", made.fingerprint) or outcome.report.as_uri()
    told = {"key": "report-page", "description": f"The report, {'/'.join(outcome.report.parts[-2:])}"}
    show("report", create_link_artifact, link=link, link_text="Open the report", **told)
    return outcome


def _tell_boards(run: Run, trained: Artifact, scores: Sequence[ScoreRow]) -> None:
    """Send the scores to the training's own run on each board, behind its last step. A board that fails stops nothing."""
    measured = {f"score/{row.benchmark}": row.seen for row in scores}
    measured |= {f"score/{row.benchmark} blind": row.blind for row in scores}
    told = {name: one.score for name, one in measured.items() if one is not None}
    for name in run.recipe.watch.loggers:
        try:
            board = Board(name, run.workspace / name, run.recipe, trained.stage, trained.fingerprint)
            board.log(trained.result(TrainResult).num_steps, told)
            board.close()
        except Exception as error:
            LOG.warning("the scores are not on %s: %s", name, error)


def _change(change: Difference | None) -> dict[str, str]:
    if change is None:
        return {"change": "", "95 % interval": ""}
    verdict = "within noise" if change.is_noise else f"p {change.p_holm:.4f}"
    return {
        "change": f"{change.difference:+.1f}, {verdict}",
        "95 % interval": f"{change.ci_low:+.1f} .. {change.ci_high:+.1f}",
    }


def _percent(measured: Measured | None) -> str:
    return f"{measured.score:.1f} ± {measured.stderr:.1f}" if measured else ""
