"""The table and the figures of a study's runs. They are made in study/; the runs are flows/study.py's."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from prefect.artifacts import create_markdown_artifact
from prefect.states import State

from tasks.of_study.part import Rung
from tasks.report import Outcome
from tasks.running.named import page_of
from tasks.running.progress import LOG, slug
from tasks.running.shown import show
from tasks.stage import stage
from tinyllava_core.artifact import Artifact, write_aside
from tinyllava_core.evaluate.compare.score_pair import Kept, kept
from tinyllava_core.paths import expanded
from tinyllava_core.report.answers.collect import collect
from tinyllava_core.report.answers.write import write_answers
from tinyllava_core.report.facts import RunFacts
from tinyllava_core.report.gather import gather_named
from tinyllava_core.report.trust import subscores
from tinyllava_core.results import TRAININGS, EvaluateResult, TrainResult
from tinyllava_core.settings.condition import SEEN
from tinyllava_core.study import ends, grid, halving, page, pairs, table
from tinyllava_core.study.grid import Planned
from tinyllava_core.study.table import Finished
from tinyllava_core.study.where import Moved, moved


def named(study: str) -> str:
    """Name a study as its folder is."""
    return slug(grid.load(study).name)


def outcome_of(state: State[Outcome]) -> Outcome | str:
    """Give what a run left, or why it did not come to its end."""
    return state.result() if state.is_completed() else (state.message or state.name or "failed")


@stage("study", task_run_name="study: {study}")
def summarise(
    study: str, planned: Sequence[Planned], ended: Sequence[Outcome | str], workspace: str, rungs: Sequence[Rung] = ()
) -> Path:
    """Write the table and the figures of a study; give the page. Raises RuntimeError, after that, if a run failed.

    `planned`: the runs that went on to their end; `rungs`: what became of all before.
    """
    told, all_runs = grid.load(study), list(zip(planned, ended, strict=True))
    done = [finished(run, outcome) for run, outcome in all_runs if isinstance(outcome, Outcome)]
    failed = [why for rung in rungs for why in rung.failed]
    failed += [f"{run.variant}, {run.way}: {why}" for run, why in all_runs if isinstance(why, str)]
    standings = [rung.standings for rung in rungs]
    scores = table.markdown(table.cells(rows := table.tabulate(done), halving.cut_in(standings)))
    folder = expanded(workspace).resolve() / page_of(named(study)).parent
    folder.mkdir(parents=True, exist_ok=True)
    units = " ".join(filter(None, (table.told(done), ends.told(done))))
    ranks = (
        f"\n{halving.told(standings)}\n\n{table.markdown([halving.HEAD, *halving.lines(standings)])}" if rungs else ""
    )
    write_aside(folder / "study.md", f"{scores}\n{units}\n{ranks}")
    write_aside(folder / "study.csv", table.as_csv(done))
    sides = _first_of_each(all_runs, expanded(workspace).resolve())
    two = len(sides) > 1
    tables = page.Tables(
        differences=pairs.against_first(done),
        published=pairs.beside_published(done),
        moved=_where(sides) if two else (),
        halving=standings,
    )
    answers = write_answers(sides, folder / "answers", back="../study.html") if two else None
    page.write_page(told, rows, failed, folder / "study.html", done, tables, answers)
    for line in (*scores.splitlines(), units):
        LOG.info("%s", line)
    LOG.info("study     %s", folder / "study.html")
    told_as = {"key": slug(f"study-{told.name}"), "description": told.description}
    show(f"study {told.name}", create_markdown_artifact, markdown=scores + ranks, **told_as)
    if failed:
        raise RuntimeError(
            f"{len(failed)} of {len(planned) + sum(len(rung.failed) for rung in rungs)} runs failed; the first: {failed[0]}. The same command goes on from here"
        )
    return folder / "study.html"


def finished(run: Planned, outcome: Outcome) -> Finished:
    """Read what a finished run cost, from its trainings' own results."""
    last = _artifact(outcome.checkpoint.parent)
    chain = [last]
    while (start := chain[0].manifest()["inputs"].get("start")) is not None:
        folders = [last.folder.parents[1] / stage / start for stage in TRAININGS]
        before = next((folder for folder in folders if folder.is_dir()), None)
        if before is None:  # a checkpoint from elsewhere
            break
        chain.insert(0, _artifact(before))
    results = [artifact.result(TrainResult) for artifact in chain]
    return Finished(
        variant=run.variant,
        seed=run.seed,
        order=run.order,
        scores=tuple(table.apart(outcome.scores)),
        num_trained=results[-1].num_trained,
        train_seconds=sum(result.seconds for result in results),
        last_loss=results[-1].last_loss,
        checkpoint=outcome.checkpoint,
        report=outcome.report,
        kept=tuple(_kept(outcome.report.parent)),
        published=tuple(pairs.published_rows(run.recipe, run.overrides)),
        uneven_end=next(map(ends.uneven, _plans(chain[-1])), ""),
    )


def _plans(trained: Artifact) -> Iterator[Path]:
    """Give the folder of a training's plan, if it is still there."""
    for planned in trained.inputs_from("plan", trained.folder.parents[2]).values():
        yield planned.folder


def _first_of_each(all_runs: Sequence[tuple[Planned, Outcome | str]], workspace: Path) -> list[RunFacts]:
    """Collect the first training of every variant, called as the variant is."""
    first: dict[str, RunFacts] = {}
    for run, outcome in all_runs:
        if isinstance(outcome, Outcome) and outcome.run_id and run.variant not in first:
            first[run.variant] = dataclasses.replace(gather_named(workspace, outcome.run_id), title=run.variant)
    return list(first.values())


def _where(runs: Sequence[RunFacts]) -> list[Moved]:
    scores = {str(run.title): {name: {row["name"]: 100 * row["value"] / row["max_score"] for row in rows} for name, rows in subscores(run).items()} for run in runs}  # fmt: skip
    return moved(collect(runs), scores)


def _kept(report: Path) -> Iterator[Kept]:
    """Find the items behind a run's page: of every benchmark that has a score, pictures seen."""
    if not (report / "result.json").is_file():
        return
    for scored in _artifact(report).inputs_from("evaluate", report.parents[2]).values():
        result = scored.result(EvaluateResult)
        if result.condition == SEEN and result.score is not None:
            yield kept(dataclasses.asdict(result), scored.folder / "items.jsonl")


def _artifact(folder: Path) -> Artifact:
    return Artifact(stage=folder.parent.name, fingerprint=folder.name, folder=folder)
