"""Write the page of a run: one HTML file that needs nothing else. What it tells is read in facts.py and examples.py."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tinyllava_core.report import figures
from tinyllava_core.report.answers.write import write_answers
from tinyllava_core.report.card import write_card, write_card_page
from tinyllava_core.report.croissant import write_croissant
from tinyllava_core.report.data.write import write_data_page
from tinyllava_core.report.examples import examples
from tinyllava_core.report.facts import (
    RunFacts,
    curves,
    lost_rows,
    mix_rows,
    part_rows,
    stage_rows,
)
from tinyllava_core.report.gantt import draw_gantt, timeline
from tinyllava_core.report.graph import draw_graph
from tinyllava_core.report.html import rate, render
from tinyllava_core.report.samples import samples
from tinyllava_core.report.scores import WAYS, score_rows
from tinyllava_core.report.training import charts, plan_charts, source_losses
from tinyllava_core.report.trust import cost_rows, published_rows, shared_rows, subscores
from tinyllava_core.results import TRAININGS, ReportResult, TrainResult
from tinyllava_core.settings.mix import MixEntry

__all__ = ["RunFacts", "write_report"]

VERSION = 5
HERE = Path(__file__).parent


def write_report(facts: RunFacts, out: Path, refresh_s: int | None = None, study: str | None = None) -> ReportResult:
    """Write `out` (report.html): everything that a run was and gave, and every answer beside it, readable offline.

    `refresh_s`: the page loads itself anew so often, for a run that is still at it. `study`: the address of the page to lead back to.
    """
    stages, scores = stage_rows(facts), score_rows(facts)
    times = timeline(facts, stages)
    html = render(
        HERE / "page.html",
        facts=facts,
        stages=stages,
        graph=Markup(draw_graph(stages)),
        scores=scores,
        card=write_card_page(write_card(facts, scores, out.parent), back=out.name).name,
        data_page=write_data_page(facts, out.parent, back=out.name).name,
        subscores=subscores(facts),
        published=published_rows(facts, scores),
        shared=shared_rows(facts),
        ways=WAYS,
        costs=cost_rows(facts),
        samples=samples(facts),
        time=times,
        gantt=Markup(draw_gantt(times)),
        charts=charts(facts),
        croissants=[path.name for path in write_croissant(facts, out.parent)],
        losses=source_losses(facts),
        plans=plan_charts(facts),
        places=_places(facts, out.parent),
        refresh_s=refresh_s,
        study=study,
        curves=[(curve.stage, Markup(figures.draw_curve(curve))) for curve in curves(facts)],
        settings=_settings(facts),
        trained=[
            (stage, asdict(artifact.result(TrainResult))) for stage in TRAININGS for _, artifact in facts.of(stage)
        ],
        mix=mix_rows(facts),
        lost=lost_rows(facts),
        parts=part_rows(facts),
        examples=examples(facts),
        answers=write_answers([facts], out.parent, back=out.name).name if scores else None,
        recipe_yaml=facts.recipe.as_yaml(),
    )
    out.write_text(html, encoding="utf-8")
    return ReportResult(
        num_tables=html.count("<table"), num_figures=html.count("<figure"), size_bytes=out.stat().st_size
    )


def _places(facts: RunFacts, folder: Path) -> list[tuple[str, str]]:
    """Give the checkpoint of each stage and the export, as paths from the page's folder: the workspace may move."""
    inside = [(name, artifact.folder / "checkpoint") for word in TRAININGS for name, artifact in facts.of(word)]
    inside += [("export", artifact.folder) for _, artifact in facts.of("export")]
    return [(name, Path(os.path.relpath(place, folder)).as_posix()) for name, place in inside]


def _settings(facts: RunFacts) -> list[tuple[str, list[str]]]:
    """Give the settings that decide a stage, one row each: its name, then its value in each stage."""
    names = (
        "mix",
        "global_batch",
        "epochs",
        "max_length",
        "lr",
        "schedule",
        "warmup_fraction",
        "weight_decay",
        "precision",
    )
    return [
        (name, [_setting(name, getattr(facts.recipe.training(stage), name)) for stage in facts.recipe.stages()])
        for name in names
    ]


def _setting(name: str, value: Any) -> str:
    if name == "mix":
        return ", ".join(_entry(entry) for entry in value)
    return rate(value) if isinstance(value, float) else str(value)


def _entry(entry: MixEntry) -> str:
    share = "" if entry.share == 1 else f" × {entry.share:g}"
    chosen = f", {entry.choose.records:,} chosen" if entry.choose else ""
    return f"{entry.source}{chosen}{share}" + (f", at most {entry.cap:,}" if entry.cap else "")
