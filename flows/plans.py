"""The first half of the story alone: from published data to the plan of every training stage. It needs no GPU."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.data import fetch_images, find_overlaps, gather, lay_out, mix_all
from flows.evaluation import fetch_benchmarks, look_at
from tasks.run import begin
from tasks.running.named import name_of_run
from tinyllava_core.recipe import load


@flow(name="tinyllava", flow_run_name=name_of_run, persist_result=False)
def plans(recipe: str = "toy", overrides: dict[str, Any] | None = None, workspace: str = "workspace") -> None:
    """Download, mix, shard and plan; the whole pipeline then finds all of it. Parameters as in full_pipeline."""
    with begin(load(recipe, overrides), overrides, workspace, to_train=False) as run:
        sets = fetch_images(run)
        sources = gather(run, sets)
        pictures = look_at(run, fetch_benchmarks(run), sets, {})
        mixes = mix_all(run, sources, pictures)
        find_overlaps(run, mixes, {}, pictures)
        for stage, mixed in mixes.items():
            lay_out(run, stage, mixed, sources)
