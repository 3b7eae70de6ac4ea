"""The whole story on one screen: from data that somebody published to a small model that sees, and its scores."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.data import fetch_images, find_overlaps, gather, keep_features, lay_out, mix_all
from flows.evaluation import fetch_benchmarks, look_at, score
from tasks.export import export
from tasks.report import Outcome, report
from tasks.run import begin
from tasks.running.named import name_of_run
from tasks.start import mixes_behind, start
from tasks.train import train
from tinyllava_core.recipe import load


@flow(name="tinyllava", flow_run_name=name_of_run, persist_result=False)
def full_pipeline(
    recipe: str = "toy", overrides: dict[str, Any] | None = None, workspace: str = "workspace"
) -> Outcome:
    """Download, mix, shard, plan, train each stage, evaluate, export, report. What is there already is not made again.

    Args:
        recipe: A name in tinyllava_core/recipes, or a path to a YAML file.
        overrides: Fields to set on it, by dotted key: {"sft.language.lr": 1e-5}.
        workspace: The folder of all artifacts and of lineage.duckdb.
    """
    with begin(load(recipe, overrides), overrides, workspace) as run:
        # What can fail for want of data fails here, before a GPU is asked for.
        started = start(run) if run.recipe.start else None
        earlier = mixes_behind(run, started)
        sets = fetch_images(run)
        sources = gather(run, sets)
        benchmarks = fetch_benchmarks(run)
        pictures = look_at(run, benchmarks, sets, earlier)
        mixes = mix_all(run, sources, pictures)
        overlaps = find_overlaps(run, mixes, earlier, pictures)
        data = {stage: lay_out(run, stage, mixed, sources) for stage, mixed in mixes.items()}

        # Each stage from the one before; the first from the parts' own weights, if there is nothing to start from.
        trained = started
        for stage, laid in data.items():
            trained = train(run, stage, *laid, start=trained, features=keep_features(run, stage, laid))

        assert trained is not None, "a recipe has a stage or a start"
        scores = score(run, trained, benchmarks, sets)
        exported = export(run, trained) if run.recipe.export else None
        return report(run, trained, scores, exported, overlaps)
